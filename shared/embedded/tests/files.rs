//! The registry and the source of files: what they tell, and what they say of files that are wrong.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{Finding, ImageFact, ScanFact, ScanStatus};
use portcullis_domain::names::{CommitSha, Repository, ServiceName, Tag};
use portcullis_domain::policy::{Place, Severity};
use portcullis_domain::time::Timestamp;
use portcullis_embedded::registry::FileRegistry;
use portcullis_embedded::source::{FileSource, SourceCommit};
use portcullis_engine::ports::{Registry, Source};

fn place() -> Place {
    Place { account: None, region: None, role: None, cluster: "local".into(), namespace: "shop".into() }
}

fn repository() -> Repository {
    Repository::new("localhost:5000/shop/web").unwrap()
}

fn tag(text: &str) -> Tag {
    Tag::new(text).unwrap()
}

fn pushed(tags: &[&str], at: u64) -> ImageFact {
    ImageFact { tags: tags.iter().map(|text| tag(text)).collect(), pushed_at: Timestamp(at), size: Some(9) }
}

fn registry() -> (tempfile::TempDir, FileRegistry) {
    let directory = tempfile::tempdir().unwrap();
    let registry = FileRegistry::new(directory.path()).unwrap();
    (directory, registry)
}

#[tokio::test]
async fn an_image_is_told_as_it_was_put_with_its_scan() {
    let (_directory, registry) = registry();
    let (place, repository, digest) = (place(), repository(), Digest::of(b"1"));
    assert_eq!(registry.image(&place, &repository, &digest).await.unwrap(), None);
    assert_eq!(registry.scan(&place, &repository, &digest).await.unwrap().status, ScanStatus::Missing);
    let scan = ScanFact {
        status: ScanStatus::Complete,
        completed_at: Some(Timestamp(1_777_000_000_001)),
        counts: BTreeMap::from([(Severity::High, 2)]),
        findings: vec![Finding { severity: Severity::High, id: "CVE-2026-1".into(), package: "zlib".into() }],
    };
    assert!(registry.put_scan(&repository, &digest, &scan).is_err());
    let fact = pushed(&["main", "8f3c2a1"], 1_777_000_000_000);
    registry.put_image(&repository, &digest, &fact).unwrap();
    registry.put_scan(&repository, &digest, &scan).unwrap();
    registry.put_image(&repository, &digest, &fact).unwrap();
    assert_eq!(registry.image(&place, &repository, &digest).await.unwrap(), Some(fact));
    assert_eq!(registry.scan(&place, &repository, &digest).await.unwrap(), scan);
    assert!(registry.remove_image(&repository, &digest).unwrap());
    assert!(!registry.remove_image(&repository, &digest).unwrap());
    assert_eq!(registry.image(&place, &repository, &digest).await.unwrap(), None);
}

#[tokio::test]
async fn a_tag_points_at_one_image_and_moves_with_a_push_or_by_hand() {
    let (_directory, registry) = registry();
    let (place, repository) = (place(), repository());
    let [one, two] = [b"1", b"2"].map(|bytes| Digest::of(bytes));
    registry.put_image(&repository, &one, &pushed(&["main", "a"], 10)).unwrap();
    registry.put_image(&repository, &two, &pushed(&["main", "b"], 20)).unwrap();
    let tagged = async |text| registry.tagged(&place, &repository, &tag(text)).await.unwrap();
    assert_eq!([tagged("main").await, tagged("a").await, tagged("c").await], [Some(two), Some(one), None]);
    let listed = registry.list(&place, &repository).await.unwrap();
    let expected = [("b", two, 20), ("main", two, 20), ("a", one, 10)];
    assert_eq!(listed, expected.map(|(text, digest, at)| (tag(text), digest, Timestamp(at))));
    registry.move_tag(&repository, &tag("main"), &one).unwrap();
    assert_eq!(tagged("main").await, Some(one));
    assert!(registry.move_tag(&repository, &tag("main"), &Digest::of(b"3")).is_err());
    let other = Repository::new("localhost:5000/shop/api").unwrap();
    assert_eq!(registry.list(&place, &other).await.unwrap(), []);
}

fn image_file(directory: &Path, digest: &Digest) -> std::path::PathBuf {
    let folder = directory.join("images/localhost=5000+shop+web");
    fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{}.json", digest.hex()))
}

#[tokio::test]
async fn a_file_written_by_hand_is_read_with_keys_that_nobody_knows() {
    let (directory, registry) = registry();
    let digest = Digest::of(b"1");
    let findings: Vec<_> = (0..80)
        .map(|n| {
            let severity = if n == 79 { "critical" } else { "low" };
            serde_json::json!({"severity": severity, "id": format!("CVE-2026-{n:04}"), "package": "p".repeat(300)})
        })
        .collect();
    let text = serde_json::json!({
        "pushed_at": "2026-05-04T12:00:00+02:00", "owner": {"team": "shop"},
        "scan": {"status": "complete", "completed_at": 1_777_888_800_123_u64, "findings": findings, "by": "hand"},
    });
    fs::write(image_file(directory.path(), &digest), text.to_string()).unwrap();
    fs::write(image_file(directory.path(), &digest).with_file_name("README.md"), "not an image").unwrap();
    let image = registry.image(&place(), &repository(), &digest).await.unwrap().unwrap();
    assert_eq!(image, ImageFact { tags: BTreeSet::new(), pushed_at: Timestamp(1_777_888_800_000), size: None });
    let scan = registry.scan(&place(), &repository(), &digest).await.unwrap();
    assert_eq!((scan.completed_at, scan.findings.len()), (Some(Timestamp(1_777_888_800_123)), 50));
    assert_eq!((scan.findings[0].severity, scan.findings[0].package.len()), (Severity::Critical, 100));
    assert_eq!(registry.list(&place(), &repository()).await.unwrap(), []);
}

#[tokio::test]
async fn a_wrong_file_is_an_error_that_names_it_and_the_field() {
    let (directory, registry) = registry();
    let digest = Digest::of(b"1");
    let file = image_file(directory.path(), &digest);
    for (text, words) in [
        ("", "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("{}", "field pushed_at is missing"),
        (r#"{"pushed_at": "soon"}"#, "field pushed_at is not a moment"),
        (r#"{"pushed_at": 1, "tags": ["-x"]}"#, "field tags is wrong"),
        (r#"{"pushed_at": 1, "size": -4}"#, "field size is wrong"),
        (r#"{"pushed_at": 1, "scan": 4}"#, "field scan is wrong"),
        (r#"{"pushed_at": 1, "scan": {}}"#, "field scan.status is missing"),
        (r#"{"pushed_at": 1, "scan": {"status": "fine"}}"#, "field scan.status is wrong"),
        (r#"{"pushed_at": 1, "scan": {"status": "complete", "counts": {"bad": 1}}}"#, "field scan.counts is wrong"),
        (r#"{"pushed_at": 1, "scan": {"status": "complete", "completed_at": []}}"#, "field scan.completed_at is not"),
    ] {
        fs::write(&file, text).unwrap();
        let image = registry.image(&place(), &repository(), &digest).await.unwrap_err().to_string();
        assert!(image.contains(&digest.hex()) && image.contains(words), "{text}: {image}");
        assert!(registry.scan(&place(), &repository(), &digest).await.is_err(), "{text}");
        assert!(registry.list(&place(), &repository()).await.is_err(), "{text}");
    }
}

fn sha(n: u8) -> CommitSha {
    CommitSha::new(&format!("{n:02x}").repeat(20)).unwrap()
}

/// A line of commits 1, 2, 3, … each changing what is given.
fn source(files: &[Option<&[&str]>]) -> (tempfile::TempDir, FileSource) {
    let directory = tempfile::tempdir().unwrap();
    let source = FileSource::new(directory.path()).unwrap();
    for (n, files) in (1..).zip(files) {
        let commit = SourceCommit {
            commit: sha(n),
            title: format!("Change {n}\nbody"),
            parent: (n > 1).then(|| sha(n - 1)),
            branches: BTreeSet::from(["main".to_owned()]),
            people: BTreeSet::from([format!("github:dev-{n}").parse().unwrap()]),
            files: files.map(|files| files.iter().map(|&file| file.to_owned()).collect()),
            tree: None,
            forward_only: false,
        };
        source.put_commit(&commit).unwrap();
    }
    (directory, source)
}

fn services<T>(entries: &[(&str, T)]) -> BTreeMap<ServiceName, T>
where
    T: Clone,
{
    entries.iter().map(|(name, value)| (ServiceName::new(name).unwrap(), value.clone())).collect()
}

#[tokio::test]
async fn a_commit_is_compared_with_what_is_live_of_each_service() {
    let (_directory, source) =
        source(&[Some(&["api/x"]), Some(&["web/a.ts"]), Some(&["webshop/b"]), Some(&["docs/c"])]);
    let folders = services(&[("web", "web".to_owned()), ("api", "./api/".to_owned()), ("job", "job".to_owned())]);
    let since = services(&[("web", sha(2)), ("api", CommitSha::new(&sha(1).as_str()[..7]).unwrap())]);
    let short = CommitSha::new(&sha(4).as_str()[..9]).unwrap();
    let facts = source.commit(Some("github.com/shop/shop"), &short, &since, &folders).await.unwrap().unwrap();
    assert_eq!((facts.commit, facts.title.as_str(), facts.commits), (Some(sha(4)), "Change 4", 3));
    assert_eq!(facts.ancestors, [sha(3), sha(2), sha(1)]);
    assert_eq!(
        facts.people.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["github:dev-2", "github:dev-3", "github:dev-4"]
    );
    // Nothing is live of the job: not known. `webshop` is another folder than `web`.
    assert_eq!(facts.changed, services(&[("web", false), ("api", false)]));

    let since = services(&[("web", sha(1)), ("api", sha(4))]);
    let facts = source.commit(None, &sha(4), &since, &folders).await.unwrap().unwrap();
    assert_eq!(facts.changed, services(&[("web", true), ("api", false)]));
    assert_eq!(source.commit(None, &sha(9), &since, &folders).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_not_known_is_never_said_to_be_unchanged() {
    let folders = services(&[("web", "web".to_owned())]);
    // Commit 2 does not say what it changed; of commit 7 nothing is known.
    let (_directory, source) = source(&[Some(&[]), None, Some(&["web/a"]), Some(&[])]);
    for (commit, live, expected, counted) in
        [(4, 3, Some(false), 1), (4, 2, Some(true), 2), (3, 1, Some(true), 2), (2, 1, None, 1), (4, 7, None, 4)]
    {
        let since = services(&[("web", sha(live))]);
        let facts = source.commit(None, &sha(commit), &since, &folders).await.unwrap().unwrap();
        assert_eq!(facts.changed.values().next().copied(), expected, "{commit} since {live}");
        // Where the live commit is not found, everybody who may have changed something counts.
        assert_eq!((facts.commits, facts.people.len()), (counted, usize::try_from(counted).unwrap()));
    }
    let facts = source.commit(None, &sha(4), &BTreeMap::new(), &folders).await.unwrap().unwrap();
    assert_eq!((facts.commits, facts.changed.len()), (1, 0));
}

#[tokio::test]
async fn a_wrong_or_ambiguous_commit_is_an_error_that_names_it() {
    let (directory, source) = source(&[Some(&[])]);
    let file = directory.path().join(format!("commits/{}.json", sha(9)));
    for (text, words) in
        [("{}", "field title is missing"), (r#"{"title": "x", "people": ["ama"]}"#, "field people is wrong")]
    {
        fs::write(&file, text).unwrap();
        let error = source.commit(None, &sha(9), &BTreeMap::new(), &BTreeMap::new()).await.unwrap_err().to_string();
        assert!(error.contains(sha(9).as_str()) && error.contains(words), "{error}");
    }
    fs::write(file.with_file_name("0909090900.json"), r#"{"title": "x"}"#).unwrap();
    let short = CommitSha::new("0909090").unwrap();
    let error = source.commit(None, &short, &BTreeMap::new(), &BTreeMap::new()).await.unwrap_err().to_string();
    assert!(error.contains("more than one"), "{error}");
}
