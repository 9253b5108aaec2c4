//! The Lambda functions as processes: how large, how soon they ask for work, how much memory they take, and how soon the
//! first answer comes; beside a function that does nothing, and beside the bare AWS SDK.
//!
//! Start reading at [`measure`]. [`functions`] says what is promised of which function, [`runtime_api`] is what a function
//! asks, [`process`] runs one, [`moto`] is AWS. Nothing here asserts speed.

mod functions;
mod moto;
mod process;
mod runtime_api;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use self::functions::{FUNCTIONS, Function, POLICY};
use self::moto::Moto;
use self::process::{Process, size};
use crate::Output;
use crate::report::{Goal, Line, Report, show};

/// What no function can be below.
const HELLO: &str = "hello";
/// One call of DynamoDB and one of SQS by the SDK alone, and by what our functions are made of.
const BARE_CALLS: &str = "bare-calls";
const OUR_CALLS: &str = "our-calls";
/// The first answer with our two calls, in those of the bare SDK.
const FIRST_ANSWER: f64 = 1.3;

/// What `lambda` is told.
#[derive(clap::Args)]
pub(crate) struct Lambda {
    /// The folder with the programs of all functions, and of what they are measured beside
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// A table for people, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// How often each program is started, in turns
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(3..))]
    runs: u32,
}

/// What was seen of one program.
struct Seen {
    name: &'static str,
    size: f64,
    cold: Spread,
    /// The most memory of any run, in megabytes.
    peak: f64,
    first: Spread,
    warm: Spread,
}

/// Times of the same thing, the shortest first.
struct Spread(Vec<Duration>);

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that so many in a hundred do not exceed, in milliseconds (nearest rank).
    fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }

    fn p50(&self) -> f64 {
        self.percentile(50)
    }

    fn p95(&self) -> f64 {
        self.percentile(95)
    }
}

/// Measures all of it.
///
/// # Errors
/// A program is not there, or does not do what it is for.
pub(crate) fn measure(args: &Lambda) -> Result<()> {
    let moto = Moto::start()?;
    let made = moto.make(POLICY).context("making what the functions need in the moto server")?;
    let folder = tempfile::Builder::new().prefix("bench-lambda-").tempdir()?;
    let environment: Vec<(&str, &str)> = made.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let start = |name: &str| Process::start(&args.programs.join(name), &environment, &folder.path().join(name));

    // The calls first: the driver is invoked with a wake that they sent.
    let names: Vec<&'static str> =
        [HELLO, BARE_CALLS, OUR_CALLS].into_iter().chain(FUNCTIONS.iter().map(|function| function.name)).collect();
    let times = || vec![Vec::new(); names.len()];
    let (mut cold, mut first, mut warm, mut peak) = (times(), times(), times(), vec![0.0_f64; names.len()]);
    // A round that does not count brings the programs into memory.
    for round in 0..=args.runs {
        for (at, name) in names.iter().copied().enumerate() {
            // The second invocation finds connections and policies that the first one made.
            let mut bodies = Vec::new();
            for time in 0..2 {
                bodies.push(match FUNCTIONS.iter().find(|function| function.name == name) {
                    Some(function) => function.event.body(&moto, &made, round * 2 + time)?,
                    None => b"{}".to_vec(),
                });
            }
            let (process, one) = start(name)?.invoke(&bodies[0])?;
            let (process, two) = process.invoke(&bodies[1])?;
            ensure!(!one.answer.is_empty() && !two.answer.is_empty(), "{name} answered nothing");
            if round > 0 {
                cold[at].push(process.cold_start);
                first[at].push(one.took);
                warm[at].push(two.took);
                peak[at] = peak[at].max(two.peak);
            }
        }
    }
    let mut seen = Vec::new();
    for (at, ((cold, first), warm)) in cold.into_iter().zip(first).zip(warm).enumerate() {
        let (name, peak) = (names[at], peak[at]);
        let size = size(&args.programs.join(name))?;
        seen.push(Seen { name, size, cold: Spread::of(cold), peak, first: Spread::of(first), warm: Spread::of(warm) });
    }
    tell(args, &seen)
}

fn tell(args: &Lambda, seen: &[Seen]) -> Result<()> {
    let of =
        |name: &str| seen.iter().find(|seen| seen.name == name).with_context(|| format!("{name} was not measured"));
    let hello = of(HELLO)?;
    let mut report = Report::new("lambda");
    for function in FUNCTIONS {
        report.lines.extend(lines(function, of(function.name)?, hello, args.runs));
    }
    report.lines.push(calls(of(OUR_CALLS)?, of(BARE_CALLS)?, args.runs));
    match args.output {
        Output::Json => println!("{}", serde_json::to_string(&report)?),
        Output::Table => {
            println!("{}\n", report.title());
            println!("{}", table(seen, hello));
            println!("{}\n", report.lines.last().context("no line")?);
            println!("{}", missed(&report));
            println!("{}", report.summary());
        }
    }
    Ok(())
}

/// Size, cold start and memory of one function, each beside hello's.
fn lines(function: &Function, seen: &Seen, hello: &Seen, runs: u32) -> [Line; 3] {
    let name = function.name;
    let goal = |line: Line, goal: Option<Goal>| match goal {
        Some(goal) => line.goal(goal),
        None => line,
    };
    let what = format!("the program of {name} for {}", std::env::consts::ARCH);
    let size = Line::new(format!("{name} size"), what, seen.size, "MB").beside("hello", hello.size, "MB");
    let what =
        format!("cold start of {name}: exec to its first request for work, p50 of {runs} runs, in those of hello");
    let ratio = seen.cold.p50() / hello.cold.p50();
    let cold = Line::new(format!("{name} cold start"), what, ratio, "x hello")
        .beside_at("hello, p50", hello.cold.p50(), "ms", ratio)
        .detail("p50 ms", seen.cold.p50())
        .detail("p95 ms", seen.cold.p95())
        .detail("hello p95 ms", hello.cold.p95())
        .detail("first answer p50 ms", seen.first.p50())
        .detail("warm answer p50 ms", seen.warm.p50());
    let what = format!("the most memory of {name} in {runs} runs, after two invocations");
    let memory = Line::new(format!("{name} memory"), what, seen.peak, "MB").beside("hello", hello.peak, "MB");
    let promise = function.promise;
    [
        goal(size, promise.map(|promise| Goal::Below(promise.size))),
        goal(cold, promise.map(|promise| Goal::AtMost(promise.cold_start))),
        goal(memory, promise.map(|promise| Goal::Below(promise.memory))),
    ]
}

/// The first answer of a new process that needs one call of DynamoDB and one of SQS.
fn calls(ours: &Seen, bare: &Seen, runs: u32) -> Line {
    let ratio = ours.first.p50() / bare.first.p50();
    let what = format!("the first answer, with one call of DynamoDB and one of SQS in it, p50 of {runs} new processes");
    Line::new("first answer", what, ratio, "x the bare SDK")
        .goal(Goal::AtMost(FIRST_ANSWER))
        .beside_at("the same two calls by the AWS SDK alone, p50", bare.first.p50(), "ms", ratio)
        .detail("p50 ms", ours.first.p50())
        .detail("p95 ms", ours.first.p95())
        .detail("bare p95 ms", bare.first.p95())
}

/// Every program in a row.
fn table(seen: &[Seen], hello: &Seen) -> String {
    let mut text = format!(
        "{:<16} {:>9}  {:>14} {:>9} {:>8}  {:>10}  {:>16} {:>13}\n",
        "program", "size", "cold start p50", "p95", "x hello", "memory", "first answer p50", "the next p50"
    );
    for seen in seen {
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:<16} {:>6} MB  {:>11} ms {:>6} ms {:>8}  {:>7} MB  {:>13} ms {:>10} ms",
            seen.name,
            show(seen.size),
            show(seen.cold.p50()),
            show(seen.cold.p95()),
            show(seen.cold.p50() / hello.cold.p50()),
            show(seen.peak),
            show(seen.first.p50()),
            show(seen.warm.p50()),
        );
    }
    text
}

/// Each goal that was not reached, with what was.
fn missed(report: &Report) -> String {
    let missed = report.lines.iter().filter(|line| line.met == Some(false));
    missed.flat_map(|line| [line.to_string(), "\n\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(millis: impl IntoIterator<Item = u64>) -> Spread {
        Spread::of(millis.into_iter().map(Duration::from_millis).collect())
    }

    fn seen(name: &'static str, size: f64, cold: u64, peak: f64, first: u64) -> Seen {
        Seen { name, size, cold: spread([cold; 20]), peak, first: spread([first; 20]), warm: spread([first; 20]) }
    }

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let twenty = spread((1..=20).rev());
        assert!(near(twenty.p50(), 10.0) && near(twenty.p95(), 19.0));
        assert!(near(spread([7]).p95(), 7.0));
        assert!(spread([]).p50().is_nan());
    }

    #[test]
    fn a_missed_goal_is_shown_and_a_function_without_a_promise_misses_none() {
        let hello = seen(HELLO, 0.8, 10, 3.0, 1);
        let [size, cold, memory] = lines(&FUNCTIONS[0], &seen("on-image-push", 6.5, 15, 24.0, 30), &hello, 20);
        assert_eq!((size.met, cold.met, memory.met), (Some(false), Some(true), Some(true)));
        let free = FUNCTIONS.iter().find(|function| function.promise.is_none()).unwrap();
        let all = lines(free, &seen(free.name, 99.0, 990, 999.0, 30), &hello, 20);
        assert!(all.iter().all(|line| line.met.is_none()));
        let mut report = Report::new("lambda");
        report.lines.extend([
            size,
            cold,
            memory,
            calls(&seen(OUR_CALLS, 5.0, 1, 9.0, 14), &seen(BARE_CALLS, 5.0, 1, 9.0, 10), 20),
        ]);
        let text = missed(&report);
        assert!(text.contains("on-image-push size") && text.contains("first answer") && !text.contains("memory"));
        assert!(
            report.summary().ends_with("goal not reached: on-image-push size, first answer"),
            "{}",
            report.summary()
        );
    }
}
