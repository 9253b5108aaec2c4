//! `model`: explores worlds on two threads and prints what was found. Exits 1 if an invariant is broken, 2 if it was
//! asked for something it does not have.
//!
//! `--large` takes larger worlds, `--broken` the broken variants, `--known` what is known not to hold; `--world NAME`
//! one of them, `--at-most STATES` cuts each short, `--verbose` says what was met.

use std::process::ExitCode;

use portcullis_model::{run, worlds};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut chosen = worlds::ci();
    let mut most: Option<usize> = None;
    let mut verbose = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match (argument.as_str(), rest.clone().next()) {
            ("--large", _) => chosen = worlds::large(),
            ("--known", _) => chosen = worlds::known().into_iter().map(|(world, _)| world).collect(),
            ("--broken", _) => chosen = worlds::broken().into_iter().map(|(world, _)| world).collect(),
            ("--world", Some(name)) => {
                rest.next();
                let found: Vec<_> = chosen.iter().filter(|world| world.name == *name).cloned().collect();
                if found.is_empty() {
                    let names: Vec<&str> = chosen.iter().map(|world| world.name).collect();
                    eprintln!("there is no world {name:?}; there are {}", names.join(", "));
                    return ExitCode::from(2);
                }
                chosen = found;
            }
            ("--at-most", Some(count)) => {
                rest.next();
                let Ok(count) = count.parse() else {
                    eprintln!("--at-most {count:?} is not a number of states");
                    return ExitCode::from(2);
                };
                most = Some(count);
            }
            ("--verbose", _) => verbose = true,
            _ => {
                eprintln!("model [--large | --broken | --known] [--world NAME] [--at-most STATES] [--verbose]");
                return ExitCode::from(2);
            }
        }
    }
    println!("{}", run::head());
    let mut broken = false;
    for world in chosen {
        let report = run::explore(world, 2, None, most);
        println!("{}", report.line());
        print!("{}", report.paths());
        if verbose {
            println!("  ledger states and decisions {:?}; met {:?}", report.ledgers, report.met);
        }
        broken |= !report.broken.is_empty();
    }
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
