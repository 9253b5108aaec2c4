//! `model`: explores worlds and prints what was found. Exits 1 if an invariant is broken.

use std::process::ExitCode;

use portcullis_model::{run, worlds};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut chosen = worlds::ci();
    let mut most = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match (argument.as_str(), rest.clone().next()) {
            ("--large", _) => chosen = worlds::large(),
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
                most = count.parse().ok();
            }
            _ => {
                eprintln!("model [--large | --broken] [--world NAME] [--at-most STATES]");
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
        if std::env::var_os("MODEL_VERBOSE").is_some() {
            println!("  ledger states and decisions {:?}; met {:?}", report.ledgers, report.met);
        }
        broken |= !report.broken.is_empty();
    }
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
