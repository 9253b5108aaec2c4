//! One environment made effective: its own keys, then those of `defaults`, then what holds where nothing is said.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use portcullis_domain::names::{EnvName, GroupName, Subject, Tag, TargetId};
use portcullis_domain::policy::{
    Gates, Intake, Limits, Mode, Place, Policy, Quorum, RollBack, ScanAction, ScanRule, Severity, Strategy, Test,
    TestKind, Waiting, Waiver,
};
use portcullis_domain::time::Millis;

use crate::amounts;
use crate::application::App;
use crate::defaults;
use crate::diagnostic::{Diagnostic, Sink};
use crate::grammar::{self, ScanWord};
use crate::nearest::{shown, suggestion};
use crate::node::{Entry, Kind, Node};
use crate::watch;

/// The most entries under `approvals`.
const MOST_QUORUMS: usize = 10;

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

    /// The groups that its gates speak of, each with where.
    pub(crate) fn groups(&self) -> Vec<(&'a str, &'a Node<'a>)> {
        let approvals = self.find(&["gates", "approvals"]).map_or(&[][..], |entry| entry.value.items());
        let quorums =
            approvals.iter().take(MOST_QUORUMS).filter_map(|node| Some((grammar::quorum(node.text()?).ok()?.1, node)));
        let reviews = Severity::ALL.iter().filter_map(|severity| {
            let node = &self.find(&["gates", "scan", &severity.to_string()])?.value;
            match grammar::scan_action(node.text()?).ok()? {
                ScanWord::Review { by, .. } => Some((by, node)),
                _ => None,
            }
        });
        quorums.chain(reviews).collect()
    }

    /// Its policy; none if something is missing. Everything wrong goes to the sink.
    pub(crate) fn policy(&self, sink: &mut Sink) -> Option<Policy> {
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
        let gates = self.gates(sink);
        let verify = self.verify(sink);
        let strategy = self.strategy();
        let blue_green = matches!(strategy, Some(Strategy::BlueGreen { .. }) | None);
        let (watch, roll_back) = watch::read(self, blue_green, sink);
        let backup_keep = self.backup(&roll_back, sink);
        let (people, groups) = self.humans();
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
            people,
            groups,
        })
    }

    fn place(&self, sink: &mut Sink) -> Option<Place> {
        let owned = |key: &str| self.text(&[key]).map(str::to_owned);
        let (account, region, role) = (owned("account"), owned("region"), owned("role"));
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

    fn strategy(&self) -> Option<Strategy> {
        let entry = self.find(&["strategy"])?;
        let manual =
            || entry.value.find(&["blue-green", "switch"]).and_then(|entry| entry.value.text()) == Some("manual");
        match (&entry.value.kind, entry.value.text()) {
            (_, Some("rolling")) => Some(Strategy::Rolling),
            (_, Some("blue-green")) => Some(defaults::blue_green(false)),
            (Kind::Map(_), _) if entry.value.get("blue-green").is_some() => Some(defaults::blue_green(manual())),
            _ => None,
        }
    }

    fn gates(&self, sink: &mut Sink) -> Gates {
        let file = self.app.file;
        let mut approvals: Vec<Quorum> = Vec::new();
        if let Some(entry) = self.find(&["gates", "approvals"]) {
            if entry.value.items().len() > MOST_QUORUMS {
                let found = Diagnostic::error(format!("at most {MOST_QUORUMS} quorums can be asked for"));
                let found = found.label(file, entry.value.span.clone(), "too many");
                sink.push(found.help("join groups that are asked for the same reason"));
            }
            for node in entry.value.items().iter().take(MOST_QUORUMS) {
                let Some((count, group)) = node.text().and_then(|text| grammar::quorum(text).ok()) else { continue };
                let Ok(group) = GroupName::new(group) else { continue };
                if approvals.iter().any(|quorum| quorum.group == group) {
                    let found = Diagnostic::error(format!("{group} is asked twice"));
                    let found = found.label(file, node.span.clone(), "an entry above asks this group already");
                    sink.push(found.help(format!("make one entry of it, such as 2 of {group}")));
                }
                approvals.push(Quorum { count, group });
            }
        }
        let expire = self.duration(&["gates", "expire"]).unwrap_or(defaults::EXPIRE);
        let remind = self.duration(&["gates", "remind"]);
        if let (Some(remind), Some(entry)) =
            (remind.filter(|remind| *remind >= expire), self.find(&["gates", "remind"]))
        {
            let message = format!("a reminder after {remind} never comes: it expires after {expire}");
            let found = Diagnostic::error(message).label(file, entry.value.span.clone(), "too late");
            sink.push(found.help("make remind shorter than expire"));
        }
        Gates {
            scan: self.scan(sink),
            approvals,
            typed_confirmation: self.text(&["gates", "typed_confirmation"]).map(str::to_owned),
            expire,
            remind: remind.unwrap_or_else(|| defaults::remind(expire)),
        }
    }

    fn scan(&self, sink: &mut Sink) -> Option<ScanRule> {
        let scan = self.find(&["gates", "scan"])?;
        let mut severities = BTreeMap::new();
        let mut named = false;
        for severity in Severity::ALL {
            let Some(text) = self.text(&["gates", "scan", &severity.to_string()]) else { continue };
            named = true;
            let action = match grammar::scan_action(text) {
                Ok(ScanWord::Block { above }) => ScanAction::Block { above },
                Ok(ScanWord::Review { above, by }) => match GroupName::new(by) {
                    Ok(by) => ScanAction::Review { above, by },
                    Err(_) => continue,
                },
                Ok(ScanWord::Allow) | Err(_) => continue,
            };
            severities.insert(severity, action);
        }
        let known = |entry: &Entry<'_>| ["max_age", "waivers"].contains(&&*entry.key);
        // An unknown key is reported already, and probably is the severity that was meant.
        if !named && matches!(scan.value.kind, Kind::Map(_)) && scan.value.entries().iter().all(known) {
            let found = Diagnostic::error("the scan says nothing about any severity");
            let found = found.label(self.app.file, scan.key_span.clone(), "every finding would be allowed");
            sink.push(found.help("add, for example:  critical: block   (or allow, if that is meant)"));
        }
        let mut waivers: Vec<Waiver> = Vec::new();
        for node in self.find(&["gates", "scan", "waivers"]).map_or(&[][..], |entry| entry.value.items()) {
            let text = |key: &str| node.get(key).and_then(|entry| entry.value.text());
            let (Some(id), Some(reason), Some(until)) = (text("id"), text("reason"), text("until")) else { continue };
            let Ok(until) = grammar::date(until) else { continue };
            if waivers.iter().any(|waiver| waiver.id == id) {
                let found = Diagnostic::error(format!("{} is waived twice", shown(id)));
                sink.push(found.label(self.app.file, node.span.clone(), "a second time").help("keep one of them"));
            }
            waivers.push(Waiver { id: id.to_owned(), reason: reason.to_owned(), until });
        }
        let max_age = self.duration(&["gates", "scan", "max_age"]).unwrap_or(defaults::SCAN_MAX_AGE);
        Some(ScanRule { severities, max_age, waivers })
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
    fn humans(&self) -> (PeopleOf, GroupsOf) {
        let named: HashSet<&str> = self.groups().into_iter().map(|(name, _)| name).collect();
        let groups: GroupsOf = named
            .into_iter()
            .filter_map(|name| {
                let (name, group) = self.app.groups.get_key_value(name)?;
                Some((name.clone(), group.members.clone().unwrap_or_default()))
            })
            .collect();
        let mut people = self.app.people.clone();
        for member in groups.values().flatten() {
            people.entry(member.clone()).or_default();
        }
        (people, groups)
    }
}

type PeopleOf = BTreeMap<Subject, BTreeSet<portcullis_domain::names::Identity>>;
type GroupsOf = BTreeMap<GroupName, BTreeSet<Subject>>;

fn article(word: &str) -> &'static str {
    if word.starts_with('a') { "an" } else { "a" }
}
