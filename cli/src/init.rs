//! `init`: a first policy from a few questions, or from what runs in a namespace.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use portcullis_domain::names::{AppName, EnvName, Repository, ServiceName, Subject};
use portcullis_kubernetes::init::{Place, Seen, policy as policy_of, see};
use serde_json::json;

use crate::args::ReadCluster;
use crate::kubeconfig::{Context, Otherwise};
use crate::out::Out;
use crate::policies::words;
use crate::show::screen::Screen;
use crate::{ask, exit};

/// What the questions answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answers {
    application: String,
    registry: String,
    services: Vec<String>,
    environment: String,
    cluster: String,
    namespace: String,
    branch: String,
    approvers: Vec<String>,
}

/// Asks, and writes a policy that `policy check` accepts.
pub(crate) fn run(file: &Path, out: Out) -> anyhow::Result<()> {
    is_free(file)?;
    let answers = questions(&mut ask::line)?;
    let text = policy(&answers);
    let name = file.display().to_string();
    let report = portcullis_policy::check(&[(name.clone(), text.clone())]);
    if report.failed() {
        return Err(exit::usage(format!(
            "these answers do not make a policy that works; nothing was written\n\n{}",
            words(&report, Screen { colour: false, ..out.screen })
        )));
    }
    write(file, &text)?;
    out.answer(&json!({ "file": name }), || {
        format!(
            "Wrote {name}.\n\nIn words       portcullis policy explain {name}\nThen           portcullis person add \
             {}  --data DIR\n               PORTCULLIS_EVENTS_TOKEN=... portcullis serve --policy {name} --data DIR",
            answers.approvers.first().map_or("NAME", String::as_str)
        )
    })
}

fn is_free(file: &Path) -> anyhow::Result<()> {
    if !file.exists() {
        return Ok(());
    }
    Err(exit::refused(format!("{} exists; it is not overwritten. Name another with --file", file.display())))
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let name = file.display();
    let mut written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .with_context(|| format!("creating {name}; an existing file is never overwritten"))?;
    written.write_all(text.as_bytes()).and_then(|()| written.sync_all()).with_context(|| format!("writing {name}"))
}

/// Reads a namespace, and writes a policy that only observes. Nothing is changed on the cluster.
pub(crate) async fn from_cluster(file: &Path, from: &ReadCluster, out: Out) -> anyhow::Result<()> {
    is_free(file)?;
    let context = Context::of(&from.kube, Otherwise::Current)?;
    let namespace =
        from.namespace.clone().or_else(|| context.namespace.clone()).unwrap_or_else(|| "default".to_owned());
    let application = match &from.app {
        Some(name) => name.clone(),
        None => AppName::new(&namespace).map_err(|error| {
            exit::usage(format!("{error}: an application cannot be called as this namespace. Say --app NAME"))
        })?,
    };
    let seen = see(&context.client().await?, &namespace).await?;
    let text = first_policy(&seen, &application, &from.env, &context.name, &namespace, out.screen)?;
    write(file, &text)?;
    let (name, target) = (file.display().to_string(), format!("{application}/{}", from.env));
    let left: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# Left out: ")).collect();
    let value =
        json!({ "file": name, "target": target, "context": context.name, "namespace": namespace, "left_out": left });
    out.answer(&value, || {
        let mut words = format!(
            "Wrote {name}: {target} as the namespace {namespace} of {} is now. It only observes.\n",
            context.shown()
        );
        for line in &left {
            words = format!("{words}\nLeft out       {}", out.screen.safe(line));
        }
        format!(
            "{words}\nIn words       portcullis policy explain {name}\n\
             In the way     portcullis cluster doctor {target} --policy {name}\n\
             Then           PORTCULLIS_EVENTS_TOKEN=... portcullis serve --policy {name} --data DIR --cluster kubeconfig"
        )
    })
}

/// The policy, which the check accepts.
fn first_policy(
    seen: &Seen,
    application: &AppName,
    environment: &EnvName,
    cluster: &str,
    namespace: &str,
    screen: Screen,
) -> anyhow::Result<String> {
    let text = policy_of(seen, &Place { application, environment, cluster, namespace }).map_err(exit::not_found)?;
    let report = portcullis_policy::check(&[("the policy".to_owned(), text.clone())]);
    if report.failed() {
        let shown = words(&report, Screen { colour: false, ..screen });
        return Err(exit::usage(format!(
            "what runs in {namespace} does not make a policy that works; nothing was written\n\n{shown}"
        )));
    }
    Ok(text)
}

type AskLine<'a> = dyn FnMut(&str) -> anyhow::Result<Option<String>> + 'a;

fn questions(line: &mut AskLine<'_>) -> anyhow::Result<Answers> {
    let one = |line: &mut AskLine<'_>, prompt: &str, default: &str, check: &dyn Fn(&str) -> Result<(), String>| {
        loop {
            let shown = if default.is_empty() { format!("{prompt}: ") } else { format!("{prompt} [{default}]: ") };
            let Some(answer) = line(&shown)? else {
                return Err(exit::usage("the questions were not answered; nothing was written"));
            };
            let answer = if answer.is_empty() { default.to_owned() } else { answer };
            match check(&answer) {
                Ok(()) => return Ok(answer),
                Err(why) => eprintln!("  {why}"),
            }
        }
    };
    let words = |error: portcullis_domain::names::InvalidName| error.to_string();
    let list = |text: &str| -> Vec<String> {
        text.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let application = one(line, "Application, such as shop", "", &|text| AppName::new(text).map(drop).map_err(words))?;
    let prompt = "Registry, such as 123456789012.dkr.ecr.us-east-1.amazonaws.com/shop";
    let registry = one(line, prompt, "", &|text| Repository::new(text).map(drop).map_err(words))?;
    let services = one(line, "Services, the first comes up first (image = registry/service)", "", &|text| {
        let names = list(text);
        if names.is_empty() {
            return Err("at least one service is needed".to_owned());
        }
        names.iter().try_for_each(|name| ServiceName::new(name).map(drop).map_err(words))
    })?;
    let environment = one(line, "Environment", "production", &|text| EnvName::new(text).map(drop).map_err(words))?;
    let label = |text: &str| EnvName::new(text).map(drop).map_err(|error| error.why.to_owned());
    let cluster = one(line, "Cluster", &format!("{application}-{environment}"), &label)?;
    let namespace = one(line, "Namespace", &format!("{application}-{environment}"), &label)?;
    let branch = one(line, "Branch whose images are released", "main", &|text| {
        let ok = !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._/".contains(&c));
        if ok { Ok(()) } else { Err("a branch has letters, digits and - . _ /".to_owned()) }
    })?;
    let approvers = one(line, "People who approve (two, so that one can approve the other's)", "", &|text| {
        let names = list(text);
        if names.is_empty() {
            return Err("at least one person is needed".to_owned());
        }
        names.iter().try_for_each(|name| Subject::new(name).map(drop).map_err(words))
    })?;
    Ok(Answers {
        application,
        registry,
        services: list(&services),
        environment,
        cluster,
        namespace,
        branch,
        approvers: list(&approvers),
    })
}

/// The policy in YAML. Every answer was checked to need no quoting but where it is quoted.
fn policy(answers: &Answers) -> String {
    let Answers { application, registry, services, environment, cluster, namespace, branch, approvers } = answers;
    let mut lines = Vec::new();
    for (at, service) in services.iter().enumerate() {
        let after = if at == 0 { String::new() } else { format!("after: {}", services[at - 1]) };
        lines.push(if after.is_empty() { format!("  {service}: {{}}") } else { format!("  {service}: {{ {after} }}") });
    }
    let services = lines.join("\n");
    let account = registry.split_once(".dkr.ecr.").and_then(|(account, rest)| Some((account, rest.split('.').next()?)));
    let place = account
        .map_or_else(String::new, |(account, region)| format!("    account: \"{account}\"\n    region: {region}\n"));
    let people: Vec<String> = approvers
        .iter()
        .map(|name| {
            format!("  {name}: {{ github: {name} }}                    # the account that commits are made with")
        })
        .collect();
    let people = people.join("\n");
    let approvers = approvers.join(", ");
    format!(
        "\
portcullis: 1
application: {application}
registry: {registry}
tags: [\"{{sha}}\"]                                  # how a tag names its commit

services:                                        # what comes up in which order
{services}

environments:
  {environment}:
    mode: deploy                                 # observe, gate or deploy
{place}    cluster: {cluster}
    namespace: {namespace}
    branch: \"{branch}\"
    gates:
      scan: {{ critical: block }}
      approvals: [1 of release-managers]         # never the requester, an author or a bot
    backup: {{ keep: 90d }}
    strategy: blue-green
    verify: [smoke]
    watch:
      for: 5m
      healthy: {{ error_rate: below 1%, response_time_p95: below 1s }}
    roll_back: {{ window: 24h, keep_old: 1h }}     # old pods stay up for 1h: back in seconds

tests:
  smoke: {{ http: [GET /health] }}

people:
{people}

groups:
  release-managers: [{approvers}]
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        let mut given = [
            "",
            "Shop",
            "shop",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop",
            "web, api",
            "",
            "",
            "",
            "",
            "kofi lena",
        ]
        .into_iter();
        questions(&mut |_| Ok(given.next().map(str::to_owned))).unwrap()
    }

    #[test]
    fn wrong_answers_are_asked_again_and_defaults_are_taken() {
        let answers = answers();
        assert_eq!(answers.application, "shop");
        assert_eq!((answers.environment.as_str(), answers.cluster.as_str()), ("production", "shop-production"));
        assert_eq!(answers.services, ["web", "api"]);
    }

    #[test]
    fn the_first_policy_is_one_that_check_accepts() {
        let text = policy(&answers());
        let report = portcullis_policy::check(&[("first.yaml".to_owned(), text.clone())]);
        assert!(!report.failed(), "{}\n{text}", words(&report, Screen::PLAIN));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_runs_in_a_namespace_becomes_a_policy_that_observes_and_nothing_becomes_none() {
        let labels = json!({ "app": "web" });
        let deployment = json!({ "metadata": { "name": "web" }, "spec": { "template": { "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "web", "image": "ghcr.io/example/web:1" }] } } } });
        let front = json!({ "metadata": { "name": "web" }, "spec": { "selector": labels, "ports": [{ "port": 80 }] } });
        let seen = Seen { deployments: vec![deployment], services: vec![front], ..Seen::default() };
        let (app, env) = (AppName::new("shop").unwrap(), EnvName::new("production").unwrap());
        let text = first_policy(&seen, &app, &env, "prod", "shop", Screen::PLAIN).unwrap();
        assert!(text.contains("    mode: observe") && text.contains("    cluster: prod"), "{text}");
        let error = first_policy(&Seen::default(), &app, &env, "prod", "shop", Screen::PLAIN).unwrap_err();
        assert!(error.to_string().contains("namespace shop"), "{error}");
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.yaml");
        write(&file, "a").unwrap();
        assert!(is_free(&file).is_err() && write(&file, "b").is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a");
    }

    #[test]
    fn questions_that_are_not_answered_write_nothing() {
        assert!(questions(&mut |_| Ok(None)).is_err());
    }
}
