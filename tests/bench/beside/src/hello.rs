//! A Lambda function that does nothing: what no cold start and no memory of a function can be below.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::de::IgnoredAny;

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let hello = service_fn(|_: LambdaEvent<IgnoredAny>| async { Ok::<_, Error>("hello") });
    runtime.block_on(lambda_runtime::run(hello))
}
