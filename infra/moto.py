"""Deploys a template of this folder into a running moto server, which stands in for AWS's CloudFormation.

    python moto.py http://127.0.0.1:5000 portcullis hub.yaml CodeBucket=code

It does what CloudFormation does and moto does not: the transform of `AWS::Serverless-2016-10-31` (by AWS's own
translator, the package aws-sam-translator). It prints, as JSON, the stack's outputs, and what moto made of each type of
resource. Where moto refuses what CloudFormation takes, the template is changed on the way, below, and nowhere else.
"""

import json
import logging
import os
import sys
import warnings
from collections import Counter
from pathlib import Path

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

HERE = Path(__file__).parent
# Whether moto made what it lists is found by asking the service itself: one call per type, and the field of its answer.
ASK = {
    "AWS::DynamoDB::Table": ("dynamodb", "list_tables", "TableNames"),
    "AWS::SQS::Queue": ("sqs", "list_queues", "QueueUrls"),
    "AWS::S3::Bucket": ("s3", "list_buckets", "Buckets"),
    "AWS::Lambda::Function": ("lambda", "list_functions", "Functions"),
    "AWS::Lambda::EventSourceMapping": ("lambda", "list_event_source_mappings", "EventSourceMappings"),
    "AWS::Events::Rule": ("events", "list_rules", "Rules"),
    "AWS::Events::Archive": ("events", "list_archives", "Archives"),
    "AWS::SNS::Topic": ("sns", "list_topics", "Topics"),
    "AWS::SNS::Subscription": ("sns", "list_subscriptions", "Subscriptions"),
    "AWS::KMS::Key": ("kms", "list_keys", "Keys"),
    "AWS::KMS::Alias": ("kms", "list_aliases", "Aliases"),
    "AWS::Logs::LogGroup": ("logs", "describe_log_groups", "logGroups"),
    "AWS::SecretsManager::Secret": ("secretsmanager", "list_secrets", "SecretList"),
    "AWS::CloudWatch::Alarm": ("cloudwatch", "describe_alarms", "MetricAlarms"),
    "AWS::CloudWatch::Dashboard": ("cloudwatch", "list_dashboards", "DashboardEntries"),
    "AWS::IAM::Role": ("iam", "list_roles", "Roles"),
    "AWS::Scheduler::Schedule": ("scheduler", "list_schedules", "Schedules"),
    "AWS::ApiGatewayV2::Api": ("apigatewayv2", "get_apis", "Items"),
}


def transformed(file, parameters):
    """The template without the transform: only resources that CloudFormation knows itself."""
    template = yaml_parse((HERE / file).read_text())
    if "Transform" in template:
        template = Translator({}, Parser()).translate(sam_template=template, parameter_values=parameters)
    for resource in template["Resources"].values():
        # moto wants the pattern of an archive as text; CloudFormation takes an object.
        if resource["Type"] == "AWS::Events::Archive":
            resource["Properties"]["EventPattern"] = json.dumps(resource["Properties"]["EventPattern"])
    return template


def count(client, kind):
    """How many of a type there are, whoever made them; none if moto cannot say."""
    service, call, field = ASK[kind]
    try:
        return len(getattr(client(service), call)().get(field, []))
    except Exception:  # moto raises whatever its own code trips over
        return None


def main(endpoint, stack, file, *pairs):
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    # moto asks for credentials and looks at none.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(name, "test")
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

    def client(service):
        return boto3.client(service, endpoint_url=endpoint)

    parameters = dict(pair.split("=", 1) for pair in pairs)
    template = transformed(file, parameters)
    before = {kind: count(client, kind) for kind in ASK}
    cloudformation = client("cloudformation")
    cloudformation.create_stack(
        StackName=stack,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
    )
    described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    listed = cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
    wanted = Counter(resource["ResourceType"] for resource in listed if "ResourceType" in resource)
    made = {}
    for kind, number in sorted(wanted.items()):
        found = None
        if kind in ASK:
            after = count(client, kind)
            found = None if after is None or before[kind] is None else after - before[kind]
        made[kind] = {"in the stack": number, "found at the service": found}
    known = {resource["LogicalResourceId"] for resource in listed if "ResourceType" in resource}
    absent = Counter(resource["Type"] for id, resource in template["Resources"].items() if id not in known)
    print(
        json.dumps(
            {
                "status": described["StackStatus"],
                "outputs": {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])},
                "resources": made,
                "not in the stack, for its condition or because moto does not know it": dict(sorted(absent.items())),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
