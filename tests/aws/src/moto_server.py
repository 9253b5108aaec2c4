"""The moto server with its races taken out: one DynamoDB request, and one put of S3, at a time; and with the protocol
that CloudWatch's newer clients speak.

moto 5.2.5 serves each request in a thread of its own. A DynamoDB transaction that is refused puts back a copy of the
table that it took at its beginning, so whatever others wrote meanwhile is lost; a conditional put of S3 looks first and
writes later. AWS does nothing of the kind, and no race of ours could be tested on it.

It reads CloudWatch's requests in JSON and as a query; the AWS SDK for Rust sends CBOR (Smithy, "RPC v2 CBOR protocol").
Each such request is put to moto in JSON, and its answer back into CBOR by the service's own model.
"""

import datetime
import functools
import io
import json
import sys
import threading

from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer
from botocore.session import get_session
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.utils import camelcase_to_underscores
from moto.dynamodb.responses import DynamoHandler
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
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

CLOUDWATCH = get_session().get_service_model("cloudwatch")


def read_cbor(body):
    parser = RpcV2CBORParser()
    return parser.parse_data_item(parser.get_peekable_stream_from_bytes(body)) if body else {}


def seconds(moment):
    """Moments are seconds since 1970 in JSON."""
    if isinstance(moment, datetime.datetime):
        return moment.timestamp()
    raise TypeError(f"{moment!r} is nothing that CloudWatch is asked with")


def refusal(code, message):
    writer, answer = RpcV2CBORSerializer(), bytearray(b"\xa2")
    for text in ("__type", code, "message", message):
        writer._serialize_type_string(answer, text, None, None)
    return bytes(answer)


def answer_in_cbor(operation, status, told):
    """A JSON answer as CBOR."""
    fields = json.loads(told) if told.strip() else {}
    if not status.startswith("2"):
        code = str(fields.get("__type", "InternalServiceFault")).rsplit("#", 1)[-1]
        return refusal(code, str(fields.get("message") or fields.get("Message") or ""))
    answer = bytearray()
    shape = CLOUDWATCH.operation_model(operation).output_shape
    if shape is None:
        return b"\xa0"
    RpcV2CBORSerializer()._serialize_data_item(answer, fields, shape)
    return bytes(answer)


def also_in_cbor(dispatch):
    @functools.wraps(dispatch)
    def dispatched(self, environ, start_response):
        if environ.get("HTTP_SMITHY_PROTOCOL") != "rpc-v2-cbor":
            return dispatch(self, environ, start_response)
        operation = environ["PATH_INFO"].rsplit("/", 1)[-1]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        known = operation in CLOUDWATCH.operation_names
        if known and hasattr(CloudWatchResponse, camelcase_to_underscores(operation)):
            asked = json.dumps(read_cbor(body), default=seconds).encode()
            begun = {}

            def begin(status, headers, exc_info=None):
                begun["status"] = status
                return lambda more: None

            as_json = {key: value for key, value in environ.items() if key != "HTTP_SMITHY_PROTOCOL"}
            as_json.update({
                "PATH_INFO": "/",
                "RAW_URI": "/",
                "REQUEST_URI": "/",
                "CONTENT_TYPE": "application/x-amz-json-1.0",
                "CONTENT_LENGTH": str(len(asked)),
                "HTTP_X_AMZ_TARGET": f"{CLOUDWATCH.metadata['targetPrefix']}.{operation}",
                "wsgi.input": io.BytesIO(asked),
            })
            told = b"".join(dispatch(self, as_json, begin))
            status, answer = begun["status"], answer_in_cbor(operation, begun["status"], told)
        else:
            status, answer = "400 Bad Request", refusal("UnknownOperationException", f"moto has no {operation}")
        start_response(status, [
            ("smithy-protocol", "rpc-v2-cbor"),
            ("Content-Type", "application/cbor"),
            ("Content-Length", str(len(answer))),
        ])
        return [answer]

    return dispatched


DomainDispatcherApplication.__call__ = also_in_cbor(DomainDispatcherApplication.__call__)

if __name__ == "__main__":
    main(sys.argv[1:])
