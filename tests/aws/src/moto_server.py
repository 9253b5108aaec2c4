"""The moto server with its races taken out: one DynamoDB request, and one put of S3, at a time.

moto 5.2.5 serves each request in a thread of its own. A DynamoDB transaction that is refused puts back a copy of the
table that it took at its beginning, so whatever others wrote meanwhile is lost; a conditional put of S3 looks first and
writes later. AWS does nothing of the kind, and no race of ours could be tested on it.
"""

import functools
import sys
import threading

from moto.dynamodb.responses import DynamoHandler
from moto.s3.responses import S3Response
from moto.server import main


def one_at_a_time(unguarded):
    lock = threading.RLock()

    @functools.wraps(unguarded)
    def guarded(*args):
        with lock:
            return unguarded(*args)

    return guarded


DynamoHandler.call_action = one_at_a_time(DynamoHandler.call_action)
S3Response.put_object = one_at_a_time(S3Response.put_object)

if __name__ == "__main__":
    main(sys.argv[1:])
