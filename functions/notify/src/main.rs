//! Tells the ledger's readers.

fn main() -> Result<(), lambda_runtime::Error> {
    portcullis_lambda::running::run::<portcullis_lambda::telling::Telling>()
}
