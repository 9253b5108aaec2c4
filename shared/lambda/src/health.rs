//! The gatekeeper's own health as metrics in the log: CloudWatch's embedded metric format (Amazon CloudWatch User Guide,
//! "Specification: Embedded metric format"). A line costs no call, and none is lost when a function is killed.

use std::io::Write as _;

use portcullis_domain::time::{Millis, Timestamp};
use serde_json::{Map, Value, json};

use crate::current;

/// The namespace of all of them.
pub const NAMESPACE: &str = "Portcullis";

/// A unit that CloudWatch knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// One measured value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// Its value.
    pub value: f64,
}

impl Metric {
    /// A number of things.
    pub fn count(name: &'static str, value: usize) -> Self {
        Self { name, unit: Unit::Count, value: plain(value) }
    }

    /// A time, in seconds.
    pub fn seconds(name: &'static str, time: Millis) -> Self {
        Self { name, unit: Unit::Seconds, value: plain(time.0) / 1_000.0 }
    }
}

/// A number as CloudWatch takes it; one that is past 32 bits is the largest that is told.
fn plain(number: impl TryInto<u32>) -> f64 {
    f64::from(number.try_into().unwrap_or(u32::MAX))
}

/// The line that tells these values of a function, in an invocation if one is under way.
pub fn line(at: Timestamp, function: &str, request: Option<&str>, metrics: &[Metric]) -> String {
    let names: Vec<Value> =
        metrics.iter().map(|metric| json!({ "Name": metric.name, "Unit": format!("{:?}", metric.unit) })).collect();
    let mut object = Map::new();
    object.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": at.0,
            "CloudWatchMetrics": [{ "Namespace": NAMESPACE, "Dimensions": [["function"]], "Metrics": names }],
        }),
    );
    object.insert("function".to_owned(), function.into());
    // No dimension: only to find what else was logged then.
    object.extend(request.map(|request| ("request".to_owned(), request.into())));
    for metric in metrics {
        object.insert(metric.name.to_owned(), json!(metric.value));
    }
    Value::Object(object).to_string()
}

/// Tells these values. A log that cannot be written to is told nobody: nothing may depend on it.
pub fn tell(at: Timestamp, function: &str, metrics: &[Metric]) {
    let under_way = current::under_way();
    let request = under_way.as_ref().map(|under_way| under_way.request.as_str());
    let _ = writeln!(std::io::stdout().lock(), "{}", line(at, function, request, metrics));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_cloudwatch_reads() {
        let told = line(Timestamp(1_700_000_000_000), "sweep", Some("r-1"), &[Metric::count("events_lost", 2)]);
        let read: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(read["_aws"]["Timestamp"], 1_700_000_000_000_u64);
        assert_eq!(read["_aws"]["CloudWatchMetrics"][0]["Namespace"], "Portcullis");
        assert_eq!(read["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["function"]]));
        assert_eq!(
            read["_aws"]["CloudWatchMetrics"][0]["Metrics"][0],
            json!({ "Name": "events_lost", "Unit": "Count" })
        );
        assert_eq!(read["events_lost"], 2.0);
        assert_eq!((&read["function"], &read["request"]), (&json!("sweep"), &json!("r-1")));
        assert!(!told.contains('\n'));
    }

    #[test]
    fn a_time_is_told_in_seconds() {
        let told = Metric::seconds("alarm_to_restored", Millis(61_500));
        assert_eq!(told, Metric { name: "alarm_to_restored", unit: Unit::Seconds, value: 61.5 });
        let many = Metric::count("events_lost", usize::MAX);
        assert_eq!(many, Metric { name: "events_lost", unit: Unit::Count, value: f64::from(u32::MAX) });
    }
}
