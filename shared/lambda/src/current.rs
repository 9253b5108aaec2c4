//! The invocation under way. Lambda gives an execution environment one at a time (AWS Lambda Developer Guide,
//! "Understanding the Lambda execution environment lifecycle"), so what the process logs and sends meanwhile belongs to
//! it, also where a task of a library does it.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_aws::queue::TraceParent;

use crate::trace::Trace;

static UNDER_WAY: Mutex<Option<Arc<UnderWay>>> = Mutex::new(None);

/// What is said of it on every line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnderWay {
    /// Lambda's id of the request.
    pub(crate) request: String,
    /// Where in which trace it is.
    pub(crate) trace: Option<Trace>,
}

/// From here on this one is under way. What is logged after it, before the next begins, is still said to be of it.
pub(crate) fn begin(under_way: UnderWay) {
    *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(under_way));
}

/// The one under way; none before the first.
pub(crate) fn under_way() -> Option<Arc<UnderWay>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What a queue sends with each message: the trace that the invocation is in.
pub(crate) fn traceparent() -> TraceParent {
    Arc::new(|| under_way()?.trace.as_ref()?.traceparent())
}
