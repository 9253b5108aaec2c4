//! SQS: the driver of releases.

fn main() -> Result<(), lambda_runtime::Error> {
    portcullis_lambda::running::run::<portcullis_lambda::driving::Driving>()
}
