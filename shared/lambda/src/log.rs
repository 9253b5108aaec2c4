//! The log: one JSON object per line, everything at its top, so that a query needs no path. On each line the id of the
//! request and of the trace; of a line about a release its number, as soon as it is known: it is a field of the span
//! around what is done. Never a body, a token, or a link that lets somebody in.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::current::{self, UnderWay};

/// Starts the log; `RUST_LOG` sets what is in it, `info` without it.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("RUST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .fmt_fields(JsonFields::new())
        .event_format(Lines(current::under_way))
        .try_init();
    // Only tests start it twice.
    let _ = started;
}

/// One line per event. CloudWatch stamps it by itself. What is nearer to the event counts: its own field before its
/// span's, that before an outer span's.
struct Lines<F>(F);

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: Fn() -> Option<Arc<UnderWay>>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        line.insert("level".to_owned(), event.metadata().level().as_str().into());
        if let Some(under_way) = (self.0)() {
            line.insert("request".to_owned(), under_way.request.as_str().into());
            if let Some(trace) = &under_way.trace {
                line.insert("trace".to_owned(), trace.xray_id().into());
            }
        }
        for span in ctx.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            // The runtime's own span says the request's id once more, under other names.
            let Some(fields) = extensions.get::<FormattedFields<N>>().filter(|_| is_ours(span.metadata().target()))
            else {
                continue;
            };
            if let Ok(Value::Object(fields)) = serde_json::from_str(&fields.fields) {
                line.extend(fields);
            }
        }
        event.record(&mut Fields(&mut line));
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Whether a module is ours.
fn is_ours(module: &str) -> bool {
    module.starts_with("portcullis")
}

/// The fields of an event.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;
    use crate::trace::Trace;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that are logged meanwhile.
    fn logged(under_way: Option<UnderWay>, logs: impl FnOnce()) -> Vec<Value> {
        let kept = Kept::default();
        let writer = kept.clone();
        let under_way = under_way.map(Arc::new);
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(Lines(move || under_way.clone()))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, logs);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_line_has_the_request_the_trace_and_what_its_spans_know() {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let under_way = UnderWay { request: "r-1".to_owned(), trace: Trace::of_xray(header) };
        let lines = logged(Some(under_way), || {
            let wake = tracing::info_span!("wake", target = "shop/production");
            let _wake = wake.enter();
            let action = tracing::info_span!("action", release = 142, seq = 7);
            action.in_scope(|| tracing::warn!(why = "throttled", seq = 8, "an action could not be done this time"));
            tracing::info!("a wake was acted on");
        });
        let trace = "1-5759e988-bd862e3fe1be46a994272793";
        let inner = json!({
            "level": "WARN",
            "request": "r-1",
            "trace": trace,
            "target": "shop/production",
            "release": 142,
            "seq": 8,
            "why": "throttled",
            "message": "an action could not be done this time",
        });
        let outer = json!({
            "level": "INFO",
            "request": "r-1",
            "trace": trace,
            "target": "shop/production",
            "message": "a wake was acted on",
        });
        assert_eq!(lines, [inner, outer]);
    }

    #[test]
    fn spans_of_others_are_left_out_and_a_line_break_breaks_no_line() {
        let lines = logged(None, || {
            let _span = tracing::info_span!(target: "lambda_runtime", "invoke", requestId = "r-1").entered();
            tracing::info!(error = "one\ntwo", "said");
        });
        assert_eq!(lines, [json!({ "level": "INFO", "error": "one\ntwo", "message": "said" })]);
    }
}
