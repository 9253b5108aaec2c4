//! The gates of a release as a tree: what holds, what does not, what would clear it.

use portcullis_domain::plan::PlanId;
use portcullis_domain::verdict::{GateResult, Judgement, Verdict};

use super::screen::{Screen, Tone, WIDTH};
use super::text::{pad, width, wrap};
use crate::when::Times;

/// Columns of a gate's name.
const NAME: usize = 14;

/// The tree of all gates; with `all`, the evidence of those that pass, too.
pub(crate) fn tree(judgement: &Judgement, plan: Option<PlanId>, screen: Screen, times: Times, all: bool) -> String {
    let count = |verdict| judgement.gates.iter().filter(|gate| gate.verdict == verdict).count();
    let (pass, hold, block) = (count(Verdict::Pass), count(Verdict::Hold), count(Verdict::Block));
    let title = plan.map_or_else(|| "Gates".to_owned(), |plan| format!("Gates for plan {plan}"));
    let tone = match judgement.verdict() {
        Verdict::Pass => Tone::Good,
        Verdict::Hold => Tone::Warn,
        Verdict::Block => Tone::Bad,
    };
    let mut out = screen.sides(&title, &format!("{pass} pass   {hold} hold   {block} block"), tone);
    let mut tree = Tree { screen, times, all, out: &mut out };
    tree.level(&judgement.gates, "");
    out
}

struct Tree<'a> {
    screen: Screen,
    times: Times,
    all: bool,
    out: &'a mut String,
}

impl Tree<'_> {
    /// One level. Passing parts beyond the first are counted instead of shown, unless all are wanted.
    fn level(&mut self, gates: &[GateResult], indent: &str) {
        let collapse = !self.all && !indent.is_empty();
        let passing = gates.iter().filter(|gate| gate.verdict == Verdict::Pass).count();
        let hidden = if collapse && passing > 2 { passing - 1 } else { 0 };
        let mut seen = 0;
        let shown: Vec<&GateResult> = gates
            .iter()
            .filter(|gate| {
                seen += usize::from(gate.verdict == Verdict::Pass);
                hidden == 0 || gate.verdict != Verdict::Pass || seen == 1
            })
            .collect();
        for (at, gate) in shown.iter().enumerate() {
            self.gate(gate, indent, hidden == 0 && at + 1 == shown.len());
        }
        if hidden > 0 {
            let mark = self.screen.mark(Verdict::Pass);
            self.line(&format!("{indent}{}{mark} {hidden} more (--all)", self.screen.branch(true)));
        }
    }

    fn gate(&mut self, gate: &GateResult, indent: &str, last: bool) {
        let screen = self.screen;
        let branch = format!("{indent}{}", screen.branch(last));
        let name = screen.cut(&screen.safe(&gate.gate), 40);
        let name = pad(&name, NAME.max(width(&name)));
        let until = gate.until.filter(|_| gate.verdict == Verdict::Hold);
        // What waits for people expires; what waits for a time is over then.
        let word = if gate.gate == "approval" { "expires" } else { "until" };
        let until = until.map_or_else(String::new, |until| format!("{word} {}", self.times.minute(until)));
        let mark_width = if screen.ascii { 4 } else { 1 };
        let head = width(&branch) + mark_width + 1 + width(&name) + 1;
        let room = WIDTH.saturating_sub(head + if until.is_empty() { 0 } else { width(&until) + 2 });
        let why = screen.safe(&gate.why);
        let mut lines = wrap(&why, room.max(20)).into_iter();
        let first = lines.next().unwrap_or_default();
        let first = if until.is_empty() { first } else { format!("{}  {until}", pad(&first, room.min(46))) };
        self.line(&format!("{branch}{} {name} {first}", screen.mark(gate.verdict)));
        let inner = format!("{indent}{}", screen.trunk(last));
        for line in lines {
            self.line(&format!("{inner}{}{line}", " ".repeat(head - width(&branch))));
        }
        let open = self.all || gate.verdict != Verdict::Pass;
        if let Some(clears) = gate.clears_when.as_ref().filter(|_| open && gate.parts.is_empty()) {
            self.note(&inner, "clears when", clears);
        }
        if open {
            for (at, evidence) in gate.evidence.iter().enumerate() {
                self.note(&inner, if at == 0 { "because" } else { "" }, evidence);
            }
            self.level(&gate.parts, &inner);
        }
    }

    fn note(&mut self, indent: &str, name: &str, words: &str) {
        let room = WIDTH.saturating_sub(width(indent) + 2 + NAME + 1).max(20);
        for (at, line) in wrap(&self.screen.safe(words), room).iter().enumerate() {
            let name = pad(if at == 0 { name } else { "" }, NAME);
            self.line(&format!("{indent}  {} {line}", self.screen.paint(Tone::Dim, &name)));
        }
    }

    fn line(&mut self, line: &str) {
        self.out.push('\n');
        self.out.push_str(line.trim_end());
    }
}
