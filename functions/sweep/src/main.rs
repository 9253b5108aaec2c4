//! Every minute: what is overdue, and what was lost.

fn main() -> Result<(), lambda_runtime::Error> {
    portcullis_lambda::running::run::<portcullis_lambda::sweeping::Sweeping>()
}
