//! What was given by hand, checked against the policy: a name that it does not know is an error with a hint.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::digest::Digest;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::gate::glass;
use portcullis_domain::glob;
use portcullis_domain::names::{AlarmName, CommitSha, Identity, Subject};
use portcullis_domain::policy::Policy;
use portcullis_domain::time::{Millis, Timestamp};

use crate::args::{Found, Promoted, Simulate};

/// A scan this old is a fresh one.
const FRESH: Millis = Millis::minutes(4);
/// What was verified elsewhere was so long ago.
const VERIFIED: Millis = Millis::hours(1);
/// At most so many names are listed in a hint.
const LISTED: usize = 12;

/// What was given, all of it known to the policy.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// The moment.
    pub(super) at: Timestamp,
    /// The commit.
    pub(super) commit: CommitSha,
    /// Accounts of those who wrote part of it, with the names they were given by.
    pub(super) authors: BTreeMap<Identity, String>,
    /// Who starts it.
    pub(super) requested_by: Option<&'a Subject>,
    /// Whether the confirmation was typed.
    pub(super) typed: bool,
    /// What the scan found; none = nothing was scanned.
    pub(super) scan: Option<(&'a [Found], Millis)>,
    /// Who approves.
    pub(super) approve: BTreeSet<&'a Subject>,
    /// What alarms say.
    pub(super) alarms: BTreeMap<AlarmName, AlarmState>,
    /// Its digests were rolled back before.
    pub(super) quarantined: bool,
    /// Why it is frozen.
    pub(super) stop: Option<&'a str>,
    /// What another environment verified, and how long ago.
    pub(super) promoted: (Promoted, Millis),
    /// It can not be undone.
    pub(super) forward_only: bool,
    /// Who would skip which gates.
    pub(super) skips: BTreeMap<&'a Subject, BTreeSet<String>>,
}

impl<'a> Asked<'a> {
    /// Checks what was given; an error names what the policy does not know, and what it does.
    pub(super) fn of(policy: &Policy, options: &'a Simulate, now: Timestamp) -> Result<Self, String> {
        for who in options.requested_by.iter().chain(&options.approve) {
            person(policy, who)?;
        }
        let wanted = policy.gates.typed_confirmation.as_deref();
        if let Some(typed) = options.confirm.as_deref().filter(|typed| wanted != Some(*typed)) {
            return Err(match wanted {
                Some(wanted) => format!("--confirm {typed:?} is not what the policy asks for: {wanted:?}"),
                None => "--confirm: the policy asks for no typed confirmation".to_owned(),
            });
        }
        if policy.gates.scan.is_none() && (!options.finding.is_empty() || options.scan_age.is_some() || options.no_scan)
        {
            return Err("the policy asks for no scan (gates.scan); leave the scan's options out".to_owned());
        }
        let asks_promotion = policy.gates.promoted_from.is_some();
        if !asks_promotion && (options.promoted.is_some() || options.promoted_age.is_some()) {
            return Err("the policy asks for no promotion (gates.promoted_from); leave --promoted out".to_owned());
        }
        if let Some(reason) = options.stop.as_deref().filter(|reason| reason.trim().is_empty()) {
            return Err(format!("--stop {reason:?}: say why it is frozen"));
        }
        let scan = (!options.no_scan).then(|| (options.finding.as_slice(), options.scan_age.unwrap_or(FRESH)));
        Ok(Self {
            at: options.at.map_or(now, |at| at.moment(now)),
            commit: match &options.commit {
                Some(commit) => commit.clone(),
                None => made_up_commit()?,
            },
            authors: authors(policy, &options.author)?,
            requested_by: options.requested_by.as_ref(),
            typed: options.confirm.is_some(),
            scan,
            approve: options.approve.iter().collect(),
            alarms: alarms(policy, options)?,
            quarantined: options.quarantined,
            stop: options.stop.as_deref(),
            promoted: (options.promoted.unwrap_or(Promoted::Digests), options.promoted_age.unwrap_or(VERIFIED)),
            forward_only: options.forward_only,
            skips: skips(policy, options)?,
        })
    }
}

fn made_up_commit() -> Result<CommitSha, String> {
    CommitSha::new(&Digest::of(b"a commit of policy simulate").hex()[..40]).map_err(|error| error.to_string())
}

/// Everybody the policy speaks of.
fn everybody(policy: &Policy) -> BTreeSet<&Subject> {
    policy.people.keys().chain(policy.groups.values().flatten()).collect()
}

fn person(policy: &Policy, who: &Subject) -> Result<(), String> {
    let all = everybody(policy);
    if all.contains(who) {
        return Ok(());
    }
    Err(format!("{who} is not in the policy; {}", listed("it knows", all.iter().map(|who| who.as_str()))))
}

fn listed<'a>(lead: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0 => format!("{lead} nobody"),
        n if n > LISTED => format!("{lead} {} and {} more", names[..LISTED].join(", "), n - LISTED),
        _ => format!("{lead} {}", names.join(", ")),
    }
}

/// The accounts of those who wrote it: a person's own, or one that was named itself.
fn authors(policy: &Policy, names: &[String]) -> Result<BTreeMap<Identity, String>, String> {
    let mut authors = BTreeMap::new();
    for name in names {
        let account = if name.contains(':') {
            Identity::new(name).map_err(|error| format!("--author: {error}"))?
        } else {
            let who = Subject::new(name).map_err(|error| format!("--author: {error}"))?;
            person(policy, &who)?;
            let accounts = policy.people.get(&who).into_iter().flatten();
            let account = accounts.clone().find(|account| account.as_str().starts_with("github:"));
            account.or(accounts.into_iter().next()).cloned().ok_or_else(|| {
                format!("--author {who}: they have no account under people:, so no commit can be told to be theirs")
            })?
        };
        authors.insert(account, name.clone());
    }
    Ok(authors)
}

/// Every alarm that was named, and for each pattern without one an alarm that is OK.
fn alarms(policy: &Policy, options: &Simulate) -> Result<BTreeMap<AlarmName, AlarmState>, String> {
    let patterns = || policy.watch.alarms_roll_back.iter().chain(&policy.watch.alarms_ask);
    let mut alarms = BTreeMap::new();
    for rings in &options.alarm {
        if !patterns().any(|pattern| glob::matches(pattern, rings.alarm.as_str())) {
            let known = listed("there are", patterns().map(String::as_str)).replace("there are nobody", "it has none");
            return Err(format!("no alarm pattern of the policy matches {}; {known}", rings.alarm));
        }
        alarms.insert(rings.alarm.clone(), rings.state);
    }
    for pattern in patterns() {
        if !alarms.keys().any(|alarm| glob::matches(pattern, alarm.as_str())) {
            let name = AlarmName::new(&pattern.replace('*', "any")).map_err(|error| error.to_string())?;
            alarms.insert(name, AlarmState::Ok);
        }
    }
    Ok(alarms)
}

fn skips<'a>(policy: &Policy, options: &'a Simulate) -> Result<BTreeMap<&'a Subject, BTreeSet<String>>, String> {
    let mut skips: BTreeMap<&Subject, BTreeSet<String>> = BTreeMap::new();
    if !options.break_glass.is_empty() && policy.gates.break_glass.is_none() {
        return Err("the policy names nobody who may break glass (gates.break_glass)".to_owned());
    }
    for skip in &options.break_glass {
        person(policy, &skip.who)?;
        if !glass::can_be_skipped(&skip.gate) {
            let can = listed("these can:", glass::SKIPPABLE.into_iter());
            return Err(format!("gate {:?} can not be skipped, or there is none; {can}", skip.gate));
        }
        skips.entry(&skip.who).or_default().insert(skip.gate.clone());
    }
    Ok(skips)
}
