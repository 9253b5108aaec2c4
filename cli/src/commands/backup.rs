//! `backup ...`: list, show, diff, verify, restore.

mod keys;
mod listed;
mod restore;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use portcullis_domain::names::TargetId;
use portcullis_engine::ports::Blobs;
use portcullis_kubernetes::backup::diff::{Change, between, lines};
use portcullis_kubernetes::backup::leave;
use portcullis_kubernetes::backup::object::ObjectRef;
use portcullis_kubernetes::backup::seal::PrivateKeys;
use portcullis_kubernetes::backup::stored::{self, Stored};
use serde_json::{Value as Json, json};

use crate::args::Backup;
use crate::exit::{Exit, Stop};
use crate::out::Out;
use crate::show::screen::{Screen, Tone};
use crate::show::text::{count, pad};
use crate::stores;
use crate::when::Times;

/// Differences of one object that are shown where not all are asked for.
const FEW: usize = 10;
/// Columns of a fact's name.
const NAME: usize = 12;

/// Does what was said.
pub(crate) async fn run(command: Backup, out: Out) -> anyhow::Result<()> {
    match command {
        Backup::List { target, store } => {
            let blobs = stores::open(&store).await?;
            let all = listed::all(&*blobs, target.as_ref()).await?;
            out.answer(&all, || listed::text(&all, out.screen, crate::out::times()))
        }
        Backup::Show { target, backup, all, identity, store } => {
            let keys = keys::read(identity.as_deref())?;
            let blobs = stores::open(&store).await?;
            let stored = named(&*blobs, &target, &backup, keys.as_ref()).await?;
            out.answer(&value(&stored), || shown(&stored, all, out.screen, crate::out::times()))
        }
        Backup::Diff { target, from, to, all, identity, store } => {
            let keys = keys::read(identity.as_deref())?;
            let blobs = stores::open(&store).await?;
            let from = named(&*blobs, &target, &from, keys.as_ref()).await?;
            let to = named(&*blobs, &target, &to, keys.as_ref()).await?;
            let changes = between(&from.objects, &to.objects);
            out.answer(&changes_value(&from, &to, &changes), || changed(&from, &to, &changes, all, out.screen))
        }
        Backup::Verify { target, identity, store } => {
            let keys = keys::read(identity.as_deref())?;
            verify(target, &*stores::open(&store).await?, keys.as_ref(), out).await
        }
        Backup::Restore(asked) => restore::run(&asked, out).await,
    }
}

/// A backup that a person named, read whole.
async fn named(blobs: &dyn Blobs, target: &TargetId, name: &str, keys: Option<&PrivateKeys>) -> anyhow::Result<Stored> {
    let there = stored::list(blobs, target).await?;
    let key = listed::find(blobs, target, &there, name).await?;
    Ok(stored::load(blobs, &key, keys).await?)
}

fn value(stored: &Stored) -> Json {
    let objects: Vec<ObjectRef> = stored.objects.iter().map(ObjectRef::of).collect();
    json!({
        "key": stored.key, "index": stored.index, "about": stored.about, "objects": objects,
        "not_opened": keys::names(stored),
    })
}

/// `  taken       yesterday 02:58:42`.
fn fact(out: &mut String, name: &str, words: &str, screen: Screen) {
    let _ = writeln!(out, "  {}{}", pad(name, NAME), screen.safe(words));
}

fn shown(stored: &Stored, all: bool, screen: Screen, times: Times) -> String {
    let index = &stored.index;
    let head = format!("{}   {}", index.target, stored.key);
    let mut out = format!("{}\n\n", screen.bold(&screen.safe(&head)));
    fact(&mut out, "taken", &format!("{}{}", times.second(index.taken_at), times.offset()), screen);
    fact(&mut out, "kept until", &times.minute(index.keep_until), screen);
    let files = count(index.files.len() as u64, "file");
    fact(
        &mut out,
        "whole",
        &format!("{} in {files}, every checksum right", count(stored.count() as u64, "object")),
        screen,
    );
    if let Some(words) = keys::not_opened(stored) {
        fact(&mut out, "encrypted", &words, screen);
    }
    let Some(about) = &stored.about else {
        fact(&mut out, "says", "nothing of itself: it is of a local cluster", screen);
        objects(&mut out, stored, all, screen);
        return out.trim_end().to_owned();
    };
    fact(&mut out, "namespace", &about.namespace, screen);
    for (workload, containers) in &about.images {
        for (container, running) in containers {
            let digests: Vec<&str> = running.digests.iter().map(String::as_str).collect();
            let digests = if digests.is_empty() { "digest not told".to_owned() } else { digests.join(", ") };
            let pods = count(u64::from(running.pods), "pod");
            fact(&mut out, "ran", &format!("{workload} {container}: {} {digests}, {pods}", running.image), screen);
        }
    }
    for note in &about.notes {
        fact(&mut out, "note", note, screen);
    }
    let most = if all { usize::MAX } else { 3 };
    for line in leave::summary(&about.left_out, most) {
        let tone = if line.contains("NOT BACKED UP") { Tone::Bad } else { Tone::Plain };
        let _ = writeln!(out, "  {}{}", screen.paint(tone, &pad("left out", NAME)), screen.safe(&line));
    }
    if about.more > 0 {
        fact(&mut out, "left out", &format!("and {} more", about.more), screen);
    }
    objects(&mut out, stored, all, screen);
    out.trim_end().to_owned()
}

/// How many objects of each kind; with `all` their names.
fn objects(out: &mut String, stored: &Stored, all: bool, screen: Screen) {
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for object in stored.objects.iter().map(ObjectRef::of) {
        let kind = if object.group.is_empty() { object.kind } else { format!("{}.{}", object.kind, object.group) };
        kinds.entry(kind).or_default().push(object.name);
    }
    for file in &stored.sealed {
        kinds.entry(file.kind.clone()).or_default().extend(file.objects.iter().cloned());
    }
    out.push('\n');
    for (kind, names) in kinds {
        let _ = writeln!(out, "  {:>5}  {}", names.len(), screen.safe(&kind));
        for name in names.iter().filter(|_| all) {
            let _ = writeln!(out, "         {}", screen.safe(name));
        }
    }
}

fn changes_value(from: &Stored, to: &Stored, changes: &BTreeMap<ObjectRef, Change>) -> Json {
    let change = |(object, change): (&ObjectRef, &Change)| match change {
        Change::Added => json!({ "object": object, "change": "added" }),
        Change::Removed => json!({ "object": object, "change": "removed" }),
        Change::Changed(differences) => {
            json!({ "object": object, "change": "changed", "differences": lines(differences) })
        }
    };
    let not_opened: BTreeSet<String> = keys::names(from).into_iter().chain(keys::names(to)).collect();
    json!({
        "from": from.key, "to": to.key, "changes": changes.iter().map(change).collect::<Vec<_>>(),
        "not_compared": not_opened,
    })
}

fn changed(from: &Stored, to: &Stored, changes: &BTreeMap<ObjectRef, Change>, all: bool, screen: Screen) -> String {
    let mut out =
        format!("{}\n{}\n\n", screen.safe(&format!("from  {}", from.key)), screen.safe(&format!("to    {}", to.key)));
    let most = if all { usize::MAX } else { FEW };
    for (object, change) in changes {
        let object = screen.safe(&object.to_string());
        match change {
            Change::Added => {
                let _ = writeln!(out, "{}", screen.paint(Tone::Good, &format!("+ {object}")));
            }
            Change::Removed => {
                let _ = writeln!(out, "{}", screen.paint(Tone::Bad, &format!("- {object}")));
            }
            Change::Changed(differences) => {
                let _ = writeln!(out, "  {object}");
                let lines = lines(differences);
                for line in lines.iter().take(most) {
                    let _ = writeln!(out, "      {}", screen.safe(line));
                }
                let more = lines.len().saturating_sub(most);
                if more > 0 {
                    let _ = writeln!(out, "      and {more} more (--all)");
                }
            }
        }
    }
    let not_opened = keys::not_opened(from).or_else(|| keys::not_opened(to));
    if changes.is_empty() {
        let (what, it) =
            if not_opened.is_some() { ("What lies open is", "it means") } else { ("They are", "they mean") };
        let _ = writeln!(out, "{what} the same in what {it}.");
    }
    if let Some(words) = not_opened {
        let _ = writeln!(out, "{}", screen.safe(&format!("Not compared: {words}")));
    }
    out.trim_end().to_owned()
}

async fn verify(
    target: Option<TargetId>,
    blobs: &dyn Blobs,
    keys: Option<&PrivateKeys>,
    out: Out,
) -> anyhow::Result<()> {
    let targets = match target {
        Some(target) => vec![target],
        None => listed::targets(blobs).await?,
    };
    let (mut whole, mut broken) = (BTreeMap::new(), BTreeMap::new());
    for target in targets {
        let verified = stored::verify_all(blobs, &target, keys).await?;
        whole.extend(verified.whole);
        broken.extend(verified.broken);
    }
    out.answer(&json!({ "whole": whole, "broken": broken }), || verified(&whole, &broken, out.screen))?;
    if broken.is_empty() {
        return Ok(());
    }
    Err(Stop { code: Exit::Failed, words: format!("{} not whole", count(broken.len() as u64, "backup")) }.into())
}

fn verified(whole: &BTreeMap<String, usize>, broken: &BTreeMap<String, String>, screen: Screen) -> String {
    if whole.is_empty() && broken.is_empty() {
        return "There are no backups.".to_owned();
    }
    let mark = |tone, mark: &str| screen.paint(tone, &pad(mark, if screen.ascii { 4 } else { 1 }));
    let mut lines: Vec<String> = broken
        .iter()
        .map(|(key, why)| format!("{} {}: {}", mark(Tone::Bad, screen.fail()), screen.safe(key), screen.safe(why)))
        .collect();
    lines.extend(whole.iter().map(|(key, objects)| {
        format!("{} {}: {}", mark(Tone::Good, screen.ok()), screen.safe(key), count(*objects as u64, "object"))
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use portcullis_domain::digest::Digest;
    use portcullis_domain::names::Seq;
    use portcullis_domain::time::Millis;
    use portcullis_engine::perform::backup::{BackupFile, BackupIndex};
    use portcullis_kubernetes::backup::about::{About, Running};
    use portcullis_kubernetes::backup::leave::{LeftOut, Why};

    use super::*;
    use crate::show::samples::{NIGHT, times};

    pub(super) fn stored(objects: Vec<Json>) -> Stored {
        let running = Running { image: "r/web:1".into(), digests: BTreeSet::from(["sha256:aa".to_owned()]), pods: 3 };
        let about = About {
            v: 1,
            namespace: "shop".into(),
            images: BTreeMap::from([("Deployment/web".into(), BTreeMap::from([("web".into(), running)]))]),
            left_out: vec![
                LeftOut { kind: "Secret".into(), name: None, why: Why::Secret },
                LeftOut { kind: "Widget.x".into(), name: None, why: Why::NotPermitted { said: "403".into() } },
            ],
            notes: vec!["Service/db\u{1b}[2J has no selector".into()],
            ..About::default()
        };
        Stored {
            key: "shop/production/deployments/20261120T025842Z/index.json".into(),
            index: BackupIndex {
                v: 1,
                target: "shop/production".parse().unwrap(),
                intention: Seq(0),
                taken_at: NIGHT,
                keep_until: NIGHT + Millis::days(90),
                files: Vec::new(),
                about: None,
            },
            about: Some(about),
            objects,
            sealed: Vec::new(),
        }
    }

    /// A file that was not opened.
    pub(super) fn sealed(names: &[&str]) -> BackupFile {
        BackupFile {
            key: "shop/production/deployments/20261120T025842Z/backup-secrets-20261120T025842Z.yaml.age".into(),
            kind: "Secret".into(),
            sha256: Digest::of(b"encrypted"),
            objects: names.iter().map(|name| (*name).to_owned()).collect(),
            sealed_to: Some("age1xyz".into()),
        }
    }

    #[test]
    fn secrets_that_were_not_opened_are_counted_and_not_compared() {
        let mut backup = stored(vec![map("a", "1")]);
        backup.sealed.push(sealed(&["db"]));
        let shown = shown(&backup, true, Screen::PLAIN, times());
        assert!(shown.contains("whole       2 objects in 0 files"), "{shown}");
        assert!(shown.contains("encrypted   1 Secret, for age1xyz; --identity FILE opens them"), "{shown}");
        assert!(shown.contains("    1  Secret\n         db"), "{shown}");
        let same = between(&backup.objects, &backup.objects);
        let text = changed(&backup, &backup, &same, false, Screen::PLAIN);
        assert!(text.contains("What lies open is the same in what it means."), "{text}");
        assert!(text.ends_with("Not compared: 1 Secret, for age1xyz; --identity FILE opens them"), "{text}");
        assert_eq!(changes_value(&backup, &backup, &same)["not_compared"], json!(["Secret/db"]));
        assert_eq!(value(&backup)["not_opened"], json!(["Secret/db"]));
    }

    #[test]
    fn of_a_secret_that_changed_only_that_is_told() {
        let secret = |value: &str| {
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "db" },
            "data": { "password": value } })
        };
        let (from, to) = (stored(vec![secret("aHVudGVyMg==")]), stored(vec![secret("c3dvcmRmaXNo")]));
        let changes = between(&from.objects, &to.objects);
        let told = changed(&from, &to, &changes, true, Screen::PLAIN);
        let value = changes_value(&from, &to, &changes).to_string();
        for text in [&told, &value] {
            assert!(text.contains("differs; what is in a Secret is not shown"), "{text}");
            assert!(!text.contains("aHVu") && !text.contains("c3dv") && !text.contains("sha256"), "{text}");
        }
    }

    pub(super) fn map(name: &str, value: &str) -> Json {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "k": value } })
    }

    #[test]
    fn a_backup_says_what_ran_what_is_in_it_and_what_is_not() {
        let screen = Screen::PLAIN;
        let shown = shown(&stored(vec![map("a", "1"), map("b", "2")]), false, screen, times());
        // The moments are the screens' own business.
        let rest: Vec<&str> =
            shown.lines().filter(|line| !line.starts_with("  taken") && !line.starts_with("  kept until")).collect();
        assert_snapshot!(rest.join("\n"), @r"
        shop/production   shop/production/deployments/20261120T025842Z/index.json

          whole       2 objects in 0 files, every checksum right
          namespace   shop
          ran         Deployment/web web: r/web:1 sha256:aa, 3 pods
          note        Service/db[2J has no selector
          left out    Widget.x: all; NOT BACKED UP: the role may not list it
          left out    Secret: all; Secrets were not asked for

              2  ConfigMap
        ");
    }

    #[test]
    fn what_changed_between_two_backups_is_told_by_object() {
        let (from, to) = (stored(vec![map("a", "1"), map("b", "1")]), stored(vec![map("b", "2"), map("c", "1")]));
        let changes = between(&from.objects, &to.objects);
        assert_snapshot!(changed(&from, &to, &changes, false, Screen::PLAIN), @r#"
        from  shop/production/deployments/20261120T025842Z/index.json
        to    shop/production/deployments/20261120T025842Z/index.json

        - ConfigMap/a
          ConfigMap/b
                data.k: "1" -> "2"
        + ConfigMap/c
        "#);
        assert_eq!(changes_value(&from, &to, &changes)["changes"][0]["change"], "removed");
        let same = between(&from.objects, &from.objects);
        assert!(changed(&from, &from, &same, false, Screen::PLAIN).ends_with("the same in what they mean."));
    }

    #[test]
    fn a_backup_that_is_not_whole_comes_first_with_its_reason() {
        let whole = BTreeMap::from([("a/b/1/index.json".to_owned(), 12)]);
        let broken = BTreeMap::from([("a/b/2/index.json".to_owned(), "reading x: it is not there".to_owned())]);
        assert_snapshot!(verified(&whole, &broken, Screen { ascii: true, colour: false }), @r"
        FAIL a/b/2/index.json: reading x: it is not there
        ok   a/b/1/index.json: 12 objects
        ");
    }
}
