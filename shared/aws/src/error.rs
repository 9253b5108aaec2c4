//! A failed call in words: what AWS said, or how far the call came. Never a body, a header or a credential.

use std::error::Error;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};

/// What was found instead of an answer.
pub(crate) fn found<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::ServiceError(service) => said(service.err().meta()),
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(error) => chain(error),
            None => "it could not be sent".to_owned(),
        },
        SdkError::ResponseError(_) => "the answer could not be read".to_owned(),
        SdkError::ConstructionFailure(_) => {
            "the request could not be made; is there a region and a credential?".to_owned()
        }
        _ => "an unknown failure".to_owned(),
    }
}

/// The code of AWS's refusal, such as `ConditionalCheckFailedException`; none if it did not refuse but fail.
pub(crate) fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    match error {
        SdkError::ServiceError(service) => service.err().meta().code(),
        _ => None,
    }
}

/// Code, words and the request's id, which AWS's support asks for.
fn said(meta: &ErrorMetadata) -> String {
    let mut words = meta.code().unwrap_or("an error without a code").to_owned();
    if let Some(message) = meta.message() {
        words.push_str(": ");
        words.push_str(message);
    }
    if let Some(id) = meta.extra("aws_request_id") {
        words.push_str(" (request ");
        words.push_str(id);
        words.push(')');
    }
    words
}

/// An error and what caused it, outermost first; what is said twice is told once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !words.ends_with(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        next = error.source();
    }
    words
}
