//! Who answered, over time.

use std::collections::BTreeMap;

use portcullis_embedded::local::load::LoadReport;

use crate::show::screen::Screen;
use crate::show::text::pad;

/// Columns of names before the chart.
const NAMES: usize = 20;
/// Columns of the chart at most.
const WIDTH: usize = 70;
/// Between two labels of the axis, in columns.
const LABELS: usize = 20;

/// Counts of one column.
#[derive(Debug, Clone, Default)]
struct Column {
    versions: BTreeMap<String, u64>,
    failed: u64,
}

/// Rows of versions and of errors over the seconds of the load; `bucket` is the reports' bucket in milliseconds.
pub(crate) fn draw(reports: &[LoadReport], bucket: u64, screen: Screen) -> String {
    let longest = reports.iter().map(|report| report.buckets.len()).max().unwrap_or(0);
    // A column is at least half a second, and more where the whole would not fit.
    let least = usize::try_from(500 / bucket.max(1)).unwrap_or(1).max(1);
    let wide = longest.div_ceil(WIDTH).next_multiple_of(least).max(least);
    let mut columns = vec![Column::default(); longest.div_ceil(wide)];
    for (at, bucket) in reports.iter().flat_map(|report| report.buckets.iter().enumerate()) {
        let column = &mut columns[at / wide];
        column.failed += bucket.failed;
        for (version, count) in &bucket.versions {
            *column.versions.entry(version.clone()).or_default() += count;
        }
    }
    let mut names: Vec<&String> = columns.iter().flat_map(|column| column.versions.keys()).collect();
    names.sort_by_key(|name| (name.len(), name.as_str()));
    names.dedup();
    let mut out = String::new();
    for (at, name) in names.iter().enumerate() {
        let label = format!("   {}{name}", pad(if at == 0 { "who answered" } else { "" }, 15));
        let shares = columns.iter().map(|column| {
            let all: u64 = column.versions.values().sum();
            share(column.versions.get(*name).copied().unwrap_or(0), all)
        });
        out.push_str(&row(&label, shares, screen));
    }
    let worst = columns.iter().map(share_of).max().unwrap_or(0).max(1);
    let errors = columns.iter().map(|column| (share_of(column) * 5).div_ceil(worst));
    out.push_str(&row("   errors", errors, screen));
    out.push_str(&axis(columns.len(), u64::try_from(wide).unwrap_or(1) * bucket));
    out
}

/// Eighths.
fn share(part: u64, all: u64) -> usize {
    if all == 0 { 0 } else { usize::try_from((part * 8).div_ceil(all)).unwrap_or(8) }
}

/// Thousandths of a column's answers that failed.
fn share_of(column: &Column) -> usize {
    let all: u64 = column.versions.values().sum();
    let share = (column.failed * 1_000).checked_div(all).unwrap_or(0);
    usize::try_from(share).unwrap_or(1_000)
}

fn row(label: &str, eighths: impl Iterator<Item = usize>, screen: Screen) -> String {
    let cells: String = eighths.map(|eighths| screen.column(eighths)).collect();
    format!("{}{}\n", pad(label, NAMES + 2), cells.trim_end())
}

fn axis(columns: usize, column_ms: u64) -> String {
    let mut line = " ".repeat(NAMES + 2);
    for at in (0..columns.max(1)).step_by(LABELS) {
        let seconds = u64::try_from(at).unwrap_or(0) * column_ms / 1_000;
        line.push_str(&pad(&format!("{seconds} s"), LABELS));
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use portcullis_embedded::local::load::LoadBucket;

    use super::*;

    fn report() -> LoadReport {
        let bucket = |version: &str, failed| LoadBucket {
            versions: BTreeMap::from([(version.to_owned(), 40)]),
            failed,
            lost: 0,
        };
        let mut buckets = vec![bucket("v1", 0); 30];
        buckets.extend(vec![bucket("v2", 0); 60]);
        buckets.extend(vec![bucket("v3", 8); 20]);
        buckets.extend(vec![bucket("v2", 0); 40]);
        LoadReport { buckets, ..LoadReport::default() }
    }

    #[test]
    fn every_version_has_a_row_and_errors_have_one() {
        insta::assert_snapshot!(draw(&[report()], 100, Screen::PLAIN));
    }

    #[test]
    fn a_load_that_never_began_draws_no_columns() {
        let drawn = draw(&[], 100, Screen { ascii: true, colour: false });
        assert!(drawn.is_ascii() && drawn.contains("errors"), "{drawn}");
    }
}
