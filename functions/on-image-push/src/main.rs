//! EventBridge `ECR Image Action`: records the push.

fn main() -> Result<(), lambda_runtime::Error> {
    portcullis_lambda::running::run::<portcullis_lambda::recording::Recording>()
}
