//! The Kubernetes adapter on a real control plane: requests lost in switches and rollbacks, ours beside what people do
//! without us; and how fast a switch, a rollback, a backup and a large release are, each beside what the cluster itself
//! needs for it in the same run.
//!
//! Start reading at [`measure`]. Nothing here asserts speed, but what does not work at all panics with what it saw.

mod backup;
mod many;
mod moves;
mod switch;

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use portcullis_tests_kubernetes::cluster::{Cluster, Options};
use portcullis_tests_kubernetes::zero_loss::{self, Row, Way, heading};
use serde_json::{Value, json};

use crate::Output;
use crate::report::{Goal, Line, Report};

/// How late the Services' proxies follow, in the runs of the zero-loss table.
const LAGS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(300)];

/// What `kubernetes` is told.
#[derive(clap::Args)]
pub(crate) struct Kubernetes {
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Name>,
    /// A table for people, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Switches and rollbacks of ours under load
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    switches: u32,
    /// The same of each of the others
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    others: u32,
    /// Objects of the namespace that is backed up
    #[arg(long, default_value_t = 2_000)]
    objects: usize,
    /// Services of the large release, at most 99
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=99))]
    services: u32,
}

/// What is measured, in its order.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Requests lost in switches and rollbacks
    ZeroLoss,
    /// The switch of one Service
    Switch,
    /// A whole switch and a whole rollback by the engine
    Moves,
    /// The backup of a namespace
    Backup,
    /// Many services in one release
    Many,
}

/// Measures all of it.
///
/// # Errors
/// There can be no cluster on this machine, or something could not be measured.
pub(crate) fn measure(args: &Kubernetes) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: &Kubernetes) -> Result<()> {
    let mut report = Report::new("kubernetes");
    let table = args.output == Output::Table;
    if table {
        println!("{}", report.title());
    }
    let wanted = |name: Name| args.only.is_empty() || args.only.contains(&name);
    if wanted(Name::ZeroLoss) {
        for line in zero_loss_lines(args, table).await? {
            told(&mut report, line, table);
        }
    }
    let others = [Name::Switch, Name::Moves, Name::Backup, Name::Many];
    if others.iter().any(|name| wanted(*name)) {
        let cluster = cluster(Duration::ZERO).await?;
        for name in others.into_iter().filter(|name| wanted(*name)) {
            let lines = match name {
                Name::ZeroLoss => Vec::new(),
                Name::Switch => switch::measure(&cluster).await?,
                Name::Moves => moves::measure(&cluster).await?,
                Name::Backup => backup::measure(&cluster, args.objects).await?,
                Name::Many => many::measure(&cluster, args.services).await?,
            };
            for line in lines {
                told(&mut report, line, table);
            }
        }
    }
    if table {
        println!("\n{}", report.summary());
    } else {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

fn told(report: &mut Report, line: Line, table: bool) {
    if table {
        println!("\n{line}");
    }
    report.lines.push(line);
}

async fn cluster(lag: Duration) -> Result<Cluster> {
    Cluster::alone(Options { lag, ..Options::default() }).await.context("there can be no cluster on this machine")
}

/// The table: ours and the others', with proxies that follow at once and late.
async fn zero_loss_lines(args: &Kubernetes, table: bool) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    if table {
        println!("\n{}", heading());
    }
    for lag in LAGS {
        let cluster = cluster(lag).await?;
        let mut rows = Vec::new();
        for (way, turns) in
            [(Way::Portcullis, args.switches), (Way::SetImage, args.others), (Way::Selector, args.others)]
        {
            let row = zero_loss::run(&cluster, way, lag, turns).await;
            if table {
                println!("{}", row.line());
            }
            rows.push(row);
        }
        lines.push(zero_loss_line(&rows, lag).context("no way was tried")?);
    }
    Ok(lines)
}

fn hurt(row: &Row) -> u64 {
    row.report.losses() + row.report.wrong
}

fn zero_loss_line(rows: &[Row], lag: Duration) -> Option<Line> {
    let (ours, naive) = (rows.first()?, rows.last()?);
    let what = format!(
        "requests lost, failed or answered by a version that nobody approved, in {} switches and {} rollbacks under load, \
         with evictions, an autoscaler and two racing drivers; proxies follow after {} ms",
        ours.moves.0,
        ours.moves.1,
        lag.as_millis()
    );
    let name = format!("zero loss {}", lag.as_millis());
    let beside = format!("{}, {} times there and back", naive.way.name(), naive.moves.0);
    let told = |row: &Row| -> Value {
        json!({
            "switches": row.moves.0, "rollbacks": row.moves.1, "requests": row.report.sent, "lost": row.report.lost,
            "failed": row.report.failed, "wrong": row.report.wrong, "reopened": row.report.reopened,
        })
    };
    let mut line = Line::new(name, what, number(hurt(ours)), "requests")
        .goal(Goal::Exactly(0.0))
        .beside(beside, number(hurt(naive)), "requests")
        .detail("meanwhile", json!(ours.meanwhile));
    for row in rows {
        line = line.detail(row.way.name(), told(row));
    }
    for why in ours.report.reasons.iter().chain(&ours.too_few) {
        line = line.detail("because", why.clone());
    }
    Some(line)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}

/// The middle of some times, in milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}
