//! Who is told what: the `notify:` section as plain data. Sending is the engine's adapters' work.

use std::collections::BTreeMap;
use std::fmt;

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// Every notice.
    Everything,
    /// A release waits for an approval.
    Waiting,
    /// A release became live.
    Live,
    /// A release failed, was rejected or expired.
    Failed,
    /// A release was rolled back.
    RolledBack,
    /// Something waits for a person and escalates.
    NeedsAPerson,
}

impl NoticeKind {
    /// Every kind with the name a policy uses.
    pub const ALL: [(NoticeKind, &'static str); 6] = [
        (NoticeKind::Everything, "everything"),
        (NoticeKind::Waiting, "waiting"),
        (NoticeKind::Live, "live"),
        (NoticeKind::Failed, "failed"),
        (NoticeKind::RolledBack, "rolled_back"),
        (NoticeKind::NeedsAPerson, "needs_a_person"),
    ];
}

/// Where a notice goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// The terminal of the process.
    Terminal,
    /// The file of notices in the data directory.
    File,
    /// A Slack channel, without its `#`. Not supported yet.
    Slack(String),
    /// `status`, `comment` or `issue`. Not supported yet.
    Github(String),
    /// An e-mail address. Not supported yet.
    Email(String),
    /// A PagerDuty service. Not supported yet.
    PagerDuty(String),
    /// The compliance report. Not supported yet.
    ComplianceReport,
}

impl Channel {
    /// Whether this version can send to it.
    pub fn is_supported(&self) -> bool {
        matches!(self, Channel::Terminal | Channel::File)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Channel::Terminal => f.write_str("terminal"),
            Channel::File => f.write_str("file"),
            Channel::Slack(name) => write!(f, "slack {name}"),
            Channel::Github(what) => write!(f, "github {what}"),
            Channel::Email(address) => write!(f, "email {address}"),
            Channel::PagerDuty(name) => write!(f, "pagerduty {name}"),
            Channel::ComplianceReport => f.write_str("compliance report"),
        }
    }
}

/// The channels of one application, by what they want to hear. Empty = the policy names none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notices {
    /// The channels of each kind, as written, without doubles.
    pub routes: BTreeMap<NoticeKind, Vec<Channel>>,
}

impl Notices {
    /// Every channel that hears of this kind, each once: those of `everything` first.
    pub fn channels(&self, kind: NoticeKind) -> Vec<&Channel> {
        let mut channels: Vec<&Channel> = Vec::new();
        for kind in [NoticeKind::Everything, kind] {
            for channel in self.routes.get(&kind).into_iter().flatten() {
                if !channels.contains(&channel) {
                    channels.push(channel);
                }
            }
        }
        channels
    }
}
