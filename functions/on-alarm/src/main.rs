//! CloudWatch alarms by EventBridge, directly, or by SNS: records the change.

fn main() -> Result<(), lambda_runtime::Error> {
    portcullis_lambda::running::run::<portcullis_lambda::recording::Recording>()
}
