//! What CloudWatch answered: values by period, and whether they can be trusted to be all.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{MessageData, MetricDataResult, ScanBy, StatusCode};

use super::queries::Request;
use crate::error::found as why;
use crate::moment;

/// At most so many pages of one answer: 500 queries of a window that long would be refused before.
const MOST_PAGES: usize = 100;

/// What one quantity came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reading {
    /// So much.
    Value(f64),
    /// CloudWatch has all there is, and there is nothing.
    Nothing,
    /// CloudWatch does not know all of it.
    Unknown,
}

/// The answers by query id.
#[derive(Debug, Default)]
pub(super) struct Readings {
    by_id: BTreeMap<String, Series>,
}

#[derive(Debug, Default)]
struct Series {
    /// Values by the beginning of their period, in seconds since 1970.
    values: BTreeMap<i64, f64>,
    /// The newest word on whether they are all.
    status: Option<StatusCode>,
    /// What CloudWatch had to say of them.
    messages: Vec<String>,
}

impl Readings {
    /// Asks, page by page. Fails where asking again may help or a permission is missing; what is only partial is kept as
    /// such.
    pub(super) async fn add(&mut self, client: &Client, request: &Request) -> Result<(), String> {
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let answer = client
                .get_metric_data()
                .set_metric_data_queries(Some(request.queries.clone()))
                .start_time(moment::telling(request.start))
                .end_time(moment::telling(request.end))
                .scan_by(ScanBy::TimestampAscending)
                .set_next_token(token.take())
                .send()
                .await
                .map_err(|error| why(&error))?;
            // A message of the whole operation says that it was not done as asked.
            if !answer.messages().is_empty() {
                return Err(answer.messages().iter().map(shown).collect::<Vec<_>>().join("; "));
            }
            for result in answer.metric_data_results() {
                self.take(result);
            }
            token = answer.next_token.filter(|next| !next.is_empty());
            if token.is_none() {
                return self.judge(request);
            }
        }
        Err(format!("the answer does not end within {MOST_PAGES} pages"))
    }

    fn take(&mut self, result: &MetricDataResult) {
        let series = self.by_id.entry(result.id().unwrap_or_default().to_owned()).or_default();
        let values =
            result.timestamps().iter().map(aws_smithy_types::DateTime::secs).zip(result.values().iter().copied());
        series.values.extend(values);
        series.status = result.status_code().cloned().or(series.status.take());
        series.messages.extend(result.messages().iter().map(shown));
    }

    /// After the last page: what is still an error is one.
    fn judge(&self, request: &Request) -> Result<(), String> {
        for id in request.queries.iter().filter_map(|query| query.id()) {
            let Some(series) = self.by_id.get(id) else { continue };
            let told =
                || if series.messages.is_empty() { String::new() } else { format!(": {}", series.messages.join("; ")) };
            match &series.status {
                Some(StatusCode::InternalError) => return Err(format!("CloudWatch failed to read {id}{}", told())),
                Some(StatusCode::Forbidden) => return Err(format!("CloudWatch may not read {id} for us{}", told())),
                _ if !series.is_whole() => {
                    tracing::warn!(id, status = ?series.status, messages = ?series.messages, "a metric is not known in full");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The values of a query by the beginning of their period; none = they are not known in full.
    pub(super) fn values(&self, id: &str) -> Option<&BTreeMap<i64, f64>> {
        self.by_id.get(id).filter(|series| series.is_whole()).map(|series| &series.values)
    }
}

impl Series {
    fn is_whole(&self) -> bool {
        self.messages.is_empty() && self.status == Some(StatusCode::Complete)
    }
}

fn shown(message: &MessageData) -> String {
    format!("{}: {}", message.code().unwrap_or("message"), message.value().unwrap_or_default())
}
