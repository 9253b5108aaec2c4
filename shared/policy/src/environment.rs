//! One environment made effective: its own keys, then those of `defaults`, then what holds where nothing is said.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::names::{EnvName, GroupName, Subject, Tag, TargetId};
use portcullis_domain::policy::{
    Gates, Governor, Intake, Limits, Mode, Place, Policy, RollBack, Test, TestKind, Waiting,
};
use portcullis_domain::time::Millis;

use crate::amounts;
use crate::application::App;
use crate::defaults;
use crate::diagnostic::{Diagnostic, Sink};
use crate::gates::{self, Asked, By, Layers};
use crate::governor;
use crate::nearest::{shown, suggestion};
use crate::node::{Entry, Node};
use crate::strictest;
use crate::switching;
use crate::watch;

/// An environment with the defaults behind it.
#[derive(Clone, Copy)]
pub(crate) struct Env<'a> {
    pub(crate) app: &'a App<'a>,
    pub(crate) name: &'a EnvName,
    pub(crate) entry: &'a Entry<'a>,
    defaults: Option<&'a Node<'a>>,
}

impl<'a> Env<'a> {
    pub(crate) fn all(app: &'a App<'a>) -> impl Iterator<Item = Env<'a>> {
        let defaults = app.root.get("defaults").map(|entry| &entry.value);
        app.environments.iter().map(move |(name, entry)| Env { app, name, entry, defaults })
    }

    /// What is in force at this path: the environment's own, else the defaults'.
    pub(crate) fn find(&self, path: &[&str]) -> Option<&'a Entry<'a>> {
        self.entry.value.find(path).or_else(|| self.defaults?.find(path))
    }

    /// Whether the environment itself says something there.
    pub(crate) fn overrides(&self, path: &[String]) -> bool {
        self.entry.value.find(path).is_some()
    }

    pub(crate) fn text(&self, path: &[&str]) -> Option<&'a str> {
        self.find(path)?.value.text()
    }

    pub(crate) fn duration(&self, path: &[&str]) -> Option<Millis> {
        amounts::duration(self.text(path)?).ok()
    }

    /// The mode; none if it is missing or wrong.
    pub(crate) fn mode(&self) -> Option<Mode> {
        match self.text(&["mode"])? {
            "observe" => Some(Mode::Observe),
            "gate" => Some(Mode::Gate),
            "deploy" => Some(Mode::Deploy),
            _ => None,
        }
    }

    /// Whether what is not supported yet may be passed over with a warning.
    pub(crate) fn only_observes(&self) -> bool {
        self.mode() == Some(Mode::Observe)
    }

    /// The names under `verify` and `roll_back.before`.
    pub(crate) fn tests(&self) -> impl Iterator<Item = &'a str> {
        let lists = [self.find(&["verify"]), self.find(&["roll_back", "before"])];
        lists.into_iter().flatten().flat_map(|entry| entry.value.items()).filter_map(Node::text)
    }

    /// Its policy; none if something is missing. Everything wrong goes to the sink.
    pub(crate) fn policy(&self, asked: &Asked, sink: &mut Sink) -> Option<Policy> {
        for (key, hint) in [
            ("mode", "observe, gate or deploy; begin with observe: it only records what it would have done"),
            ("cluster", "the EKS cluster's name, or a kubeconfig context"),
            ("namespace", "the Kubernetes namespace"),
            ("strategy", "blue-green or rolling"),
        ] {
            if self.find(&[key]).is_none() {
                let found = Diagnostic::error(format!("{} has no `{key}`", self.name));
                let found = found.label(self.app.file, self.entry.key_span.clone(), "neither here nor under defaults");
                sink.push(found.help(format!("add {key}: {hint}")));
            }
        }
        let place = self.place(sink);
        let gates = self.gates(asked, sink);
        let verify = self.verify(sink);
        let (watch, roll_back) = watch::read(self, !switching::is_rolling(self), sink);
        let strategy = switching::strategy(self, watch.every, sink);
        let traffic = switching::traffic(self, strategy.as_ref(), sink);
        let backup_keep = self.backup(&roll_back, sink);
        let (people, groups) = self.humans(asked);
        Some(Policy {
            target: TargetId { app: self.app.name.clone(), env: self.name.clone() },
            mode: self.mode()?,
            place: place?,
            source: self.app.source.clone(),
            services: self.app.services.clone(),
            tags: self.app.tags.clone(),
            intake: Intake {
                branch: self.text(&["branch"]).map(str::to_owned),
                moving_tag: self.text(&["moving_tag"]).and_then(|tag| Tag::new(tag).ok()),
            },
            gates,
            strategy: strategy?,
            verify,
            backup_keep,
            watch,
            roll_back,
            waiting: if self.text(&["waiting"]) == Some("queue") { Waiting::Queue } else { Waiting::Newest },
            limits: self.limits(),
            governor: self.governor(),
            metrics_from: self.app.metrics_from,
            publish: self.app.publish.clone(),
            traffic,
            backup_secrets: self.text(&["backup", "secrets"]).map(str::to_owned),
            people,
            groups,
        })
    }

    fn place(&self, sink: &mut Sink) -> Option<Place> {
        let owned = |key: &str| self.text(&[key]).map(str::to_owned);
        let (account, region, role) = (self.account(sink), owned("region"), owned("role"));
        for (key, present, other, needed) in [
            ("account", account.is_some(), "region", region.is_some()),
            ("region", region.is_some(), "account", account.is_some()),
            ("role", role.is_some(), "account", account.is_some()),
        ] {
            if let (true, false, Some(entry)) = (present, needed, self.find(&[key])) {
                let found = Diagnostic::error(format!("{} has {} {key} but no {other}", self.name, article(key)));
                let found =
                    found.label(self.app.file, entry.key_span.clone(), format!("means nothing without {other}"));
                let place = found.label(self.app.file, self.entry.key_span.clone(), format!("no {other} for this"));
                sink.push(place.help(format!("add {other}, or remove {key}")));
            }
        }
        Some(Place { account, region, role, cluster: owned("cluster")?, namespace: owned("namespace")? })
    }

    /// What it asks for before a release, with what the organisation always asks for.
    pub(crate) fn asked(&self, sink: &mut Sink) -> Asked {
        let gates = |node: &'a Node<'a>| node.get("gates").map(|entry| &entry.value);
        let nodes = [gates(&self.entry.value), self.defaults.and_then(gates)];
        let layers =
            Layers { file: self.app.file, text: self.app.text, nodes, by: By::Application, checked: &self.app.checked };
        let own = gates::read(&layers, sink);
        match self.app.organisation {
            Some(organisation) => strictest::join(organisation.asks(self.name), own, sink),
            None => own,
        }
    }

    fn gates(&self, asked: &Asked, sink: &mut Sink) -> Gates {
        let expire = self.duration(&["gates", "expire"]).unwrap_or(defaults::EXPIRE);
        let remind = self.duration(&["gates", "remind"]);
        if let (Some(remind), Some(entry)) =
            (remind.filter(|remind| *remind >= expire), self.find(&["gates", "remind"]))
        {
            let message = format!("a reminder after {remind} never comes: it expires after {expire}");
            let found = Diagnostic::error(message).label(self.app.file, entry.value.span.clone(), "too late");
            sink.push(found.help("make remind shorter than expire"));
        }
        let on_ecr = self.app.services.iter().any(|service| service.repository.as_str().contains(".dkr.ecr."));
        let settle = if on_ecr { defaults::SCAN_SETTLES_ON_ECR } else { Millis(0) };
        asked.gates(expire, remind.unwrap_or_else(|| defaults::remind(expire)), settle)
    }

    fn verify(&self, sink: &mut Sink) -> Vec<Test> {
        let file = self.app.file;
        let mut tests: Vec<Test> = Vec::new();
        for node in self.find(&["verify"]).map_or(&[][..], |entry| entry.value.items()) {
            let Some(name) = node.text() else { continue };
            if let Some(test) = self.app.tests.get(name) {
                if tests.iter().any(|before| before.name == test.name) {
                    let found = Diagnostic::error(format!("the test `{}` is run twice", shown(name)));
                    sink.push(found.label(file, node.span.clone(), "a second time").help("remove it"));
                }
                let serving = self.app.services.iter().any(|service| !service.is_worker());
                if matches!(test.kind, TestKind::Http { .. }) && !serving && !self.app.services.is_empty() {
                    let found = Diagnostic::error(format!("the test `{}` asks nobody", shown(name)));
                    let found = found.label(file, node.span.clone(), "no service answers HTTP: all are workers");
                    sink.push(found.help("remove it: a test that asks nobody would always pass"));
                }
                tests.push(test.clone());
            } else {
                self.unknown_test(node, name, sink);
            }
        }
        for node in self.find(&["roll_back", "before"]).map_or(&[][..], |entry| entry.value.items()) {
            if let Some(name) = node.text().filter(|name| *name != "backup" && !self.app.tests.contains_key(name)) {
                self.unknown_test(node, name, sink);
            }
        }
        tests
    }

    fn unknown_test(&self, node: &Node<'_>, name: &str, sink: &mut Sink) {
        let section = self.app.root.get("tests").map_or(&[][..], |entry| entry.value.entries());
        if section.iter().any(|entry| entry.key == name) || sink.is_full() {
            return;
        }
        let names: Vec<&str> = section.iter().map(|entry| &*entry.key).collect();
        let found = Diagnostic::error(format!("there is no test `{}`", shown(name)));
        let found = found.label(self.app.file, node.span.clone(), "not under tests");
        sink.push(found.help(suggestion(name, &names, "tests")));
    }

    fn backup(&self, roll_back: &RollBack, sink: &mut Sink) -> Millis {
        let keep = self.duration(&["backup", "keep"]);
        let kept = keep.unwrap_or(defaults::BACKUP_KEEP);
        if kept < roll_back.window {
            let window = roll_back.window;
            let mut found =
                Diagnostic::error(format!("a backup kept {kept} is gone before the rollback window of {window} ends"));
            for (path, text) in
                [(["backup", "keep"], "too short"), (["roll_back", "window"], "needs a backup to the end")]
            {
                if let Some(entry) = self.find(&path) {
                    found = found.label(self.app.file, entry.value.span.clone(), text);
                }
            }
            sink.push(found.help(format!("write:  backup: {{ keep: {window} }}")));
        }
        kept
    }

    fn limits(&self) -> Limits {
        let standard = Limits::default();
        let limit = |key: &str, otherwise: Millis| self.duration(&["limits", key]).unwrap_or(otherwise);
        Limits {
            gather: limit("gather", standard.gather),
            backup: limit("backup", standard.backup),
            ready: limit("ready", standard.ready),
            write: limit("write", standard.write),
            escalate: limit("escalate", standard.escalate),
            look: limit("look", standard.look),
        }
    }

    /// The groups its rules speak of, and everybody who may have to be recognised: as approver or as author.
    fn humans(&self, asked: &Asked) -> (PeopleOf, GroupsOf) {
        let directory = &self.app.directory;
        let groups: GroupsOf = asked
            .groups()
            .filter_map(|name| {
                let (name, group) = directory.groups.get_key_value(name)?;
                Some((name.clone(), group.members.clone().unwrap_or_default()))
            })
            .collect();
        let mut people = directory.people.clone();
        for member in groups.values().flatten() {
            people.entry(member.clone()).or_default();
        }
        (people, groups)
    }

    /// The account's 12 digits, also where the policy says its name; what the organisation does not know is refused.
    fn account(&self, sink: &mut Sink) -> Option<String> {
        let entry = self.find(&["account"])?;
        let text = entry.value.text()?;
        let known = self.app.organisation.and_then(|organisation| organisation.accounts.as_ref());
        let digits = text.bytes().all(|c| c.is_ascii_digit());
        let mut refuse = |message: String, label: &str, help: String| {
            let found = Diagnostic::error(message).label(self.app.file, entry.value.span.clone(), label);
            sink.push(found.help(help));
        };
        match known {
            Some(known) if digits && known.values().any(|number| number == text) => {}
            Some(known) if known.is_empty() => {}
            Some(known) => {
                if let Some(number) = known.get(text) {
                    return Some(number.clone());
                }
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                let message = format!("the organisation has no account `{}`", shown(text));
                refuse(message, "not under its accounts", suggestion(text, &names, "accounts"));
            }
            None if digits => {}
            None => {
                let message = format!("`{}` is not an AWS account", shown(text));
                let help = "write its 12 digits in quotes, or name it under `accounts` of the organisation";
                refuse(message, "no organisation names it", help.to_owned());
            }
        }
        Some(text.to_owned())
    }

    /// How many rollbacks are too many.
    fn governor(&self) -> Governor {
        let mut governor = Governor::default();
        let most = self.find(&["roll_back", "most"]);
        if let Some((rollbacks, within)) = most.and_then(|entry| governor::often(&entry.value, "rollbacks")) {
            (governor.rollbacks, governor.within) = (rollbacks, within);
        }
        if let Some((fleet, within)) = self.app.organisation.and_then(|organisation| organisation.breaker) {
            (governor.fleet, governor.fleet_within) = (fleet, within);
        }
        governor
    }
}

type PeopleOf = BTreeMap<Subject, BTreeSet<portcullis_domain::names::Identity>>;
type GroupsOf = BTreeMap<GroupName, BTreeSet<Subject>>;

fn article(word: &str) -> &'static str {
    if word.starts_with('a') { "an" } else { "a" }
}
