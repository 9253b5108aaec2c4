//! GitHub webhooks: believed by their signature, answered at once.

fn main() -> Result<(), lambda_runtime::Error> {
    portcullis_lambda::running::run::<portcullis_lambda::webhooks::GitHubEvents>()
}
