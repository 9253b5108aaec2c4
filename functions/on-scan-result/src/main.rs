//! EventBridge `ECR Image Scan`, `Inspector2 Scan`, `Inspector2 Finding`: records what a scan says.

fn main() -> Result<(), lambda_runtime::Error> {
    portcullis_lambda::running::run::<portcullis_lambda::recording::Recording>()
}
