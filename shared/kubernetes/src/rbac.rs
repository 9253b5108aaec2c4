//! The rights that Portcullis needs in a namespace, no more: each rule with what it is for.
//!
//! Pure: what a policy does in, YAML out. Secrets are in it only on request. What it does not permit is left out of a
//! backup, and named there.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use portcullis_domain::policy::{Colour, Mode, Policy, TestKind, TrafficBy};

use crate::backup::discover::Kind;
use crate::backup::leave;
use crate::backup::wire::shown;
use crate::backup::yaml_write::word;

/// The name of the Role and its binding.
pub const ROLE: &str = "portcullis";
/// The name of the Role and its binding for people who adopt services and release them again; the group that they are in
/// where no other is said.
pub const ADOPTERS: &str = "portcullis-adopters";
/// Where clusters keep what is about all of them.
pub const SYSTEM: &str = "kube-system";

/// What is done in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// How much Portcullis does.
    pub mode: Mode,
    /// The Deployments that it writes, by name; the Services have the same names.
    pub workloads: Vec<String>,
    /// What else is done.
    pub wants: BTreeSet<Want>,
    /// The kinds that a backup lists; none = those that Kubernetes itself has.
    pub kinds: Option<Vec<Kind>>,
}

/// What needs rights beyond looking and writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Want {
    /// A test asks over HTTP.
    HttpTests,
    /// A test is a Job.
    JobTests,
    /// Secrets are read: for checksums of configuration, and into backups.
    Secrets,
    /// Backups are brought back with these rights.
    Restore,
    /// Traffic moves by weights on Ingresses of the AWS Load Balancer Controller.
    WeightsOnIngresses,
    /// Traffic moves by weights on routes of the Gateway API.
    WeightsOnRoutes,
    /// Nodes are read, to say how many more pods fit. A right in the whole cluster.
    Capacity,
}

impl Want {
    /// What moving traffic this way needs; none = nothing that is not written anyway.
    fn of_traffic(way: TrafficBy) -> Option<Self> {
        match way {
            TrafficBy::Selector => None,
            TrafficBy::Alb => Some(Want::WeightsOnIngresses),
            TrafficBy::Gateway => Some(Want::WeightsOnRoutes),
        }
    }
}

impl Needs {
    /// What a policy needs, with Secrets, restores and capacity as they are asked for.
    pub fn of(policy: &Policy) -> Self {
        let coloured = |service: &portcullis_domain::policy::Service| {
            let name = service.name.as_str();
            [name.to_owned(), format!("{name}-{}", Colour::Blue), format!("{name}-{}", Colour::Green)]
        };
        let tests = policy.verify.iter().map(|test| match test.kind {
            TestKind::Http { .. } => Want::HttpTests,
            TestKind::Job { .. } => Want::JobTests,
        });
        let secrets = policy.backup_secrets.as_ref().map(|_| Want::Secrets);
        Self {
            mode: policy.mode,
            workloads: policy.services.iter().flat_map(coloured).collect(),
            wants: tests.chain(Want::of_traffic(policy.traffic)).chain(secrets).collect(),
            kinds: None,
        }
    }

    /// With something else.
    #[must_use]
    pub fn with(mut self, want: Want) -> Self {
        self.wants.insert(want);
        self
    }

    fn wants(&self, want: Want) -> bool {
        self.wants.contains(&want)
    }
}

/// One rule of a Role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it is for.
    pub purpose: &'static str,
    /// Its API group; empty = the core one.
    pub group: String,
    /// Its resources, subresources after a `/`.
    pub resources: Vec<String>,
    /// What may be done.
    pub verbs: Vec<&'static str>,
    /// The objects by name; none = all of the namespace.
    pub names: Vec<String>,
}

/// Namespaced kinds that Kubernetes itself has, and a backup keeps: group and resource.
const BUILT_IN: [(&str, &str); 24] = [
    ("", "configmaps"),
    ("", "limitranges"),
    ("", "persistentvolumeclaims"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "replicationcontrollers"),
    ("", "resourcequotas"),
    ("", "secrets"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
];

/// The rules of the Role.
pub fn rules(needs: &Needs) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut add = |purpose, group: &str, resources: &[&str], verbs: &[&'static str], names: &[String]| {
        rules.push(Rule {
            purpose,
            group: group.to_owned(),
            resources: resources.iter().map(|resource| (*resource).to_owned()).collect(),
            verbs: verbs.to_vec(),
            names: names.to_vec(),
        });
    };
    let look = "look: what runs, what is ready, what keeps it from being so";
    add(look, "apps", &["deployments"], &["get", "list"], &[]);
    add(look, "", &["services"], &["get", "list"], &[]);
    add(look, "", &["pods", "events", "resourcequotas"], &["list"], &[]);
    add(look, "", &["pods/log", "configmaps"], &["get"], &[]);
    add(look, "discovery.k8s.io", &["endpointslices"], &["list"], &[]);
    add(look, "autoscaling", &["horizontalpodautoscalers"], &["get", "list"], &[]);
    add(look, "policy", &["poddisruptionbudgets"], &["get", "list"], &[]);
    let front = "look: which load balancer stands in front";
    add(front, "networking.k8s.io", &["ingresses"], &["list"], &[]);
    add(front, "elbv2.k8s.aws", &["targetgroupbindings"], &["list"], &[]);
    let weights = [
        (Want::WeightsOnIngresses, "networking.k8s.io", "ingresses"),
        (Want::WeightsOnRoutes, "gateway.networking.k8s.io", "httproutes"),
    ];
    for (_, group, resource) in weights.into_iter().filter(|(want, ..)| needs.wants(*want)) {
        add("look: the weights between the colours", group, &[resource], &["get", "list"], &[]);
    }
    if needs.wants(Want::Secrets) {
        add("look: the checksum of configuration in Secrets (their metadata only)", "", &["secrets"], &["get"], &[]);
    }
    if needs.mode != Mode::Observe {
        let write = "write: both colours, and where traffic goes. Nothing is ever deleted";
        // A right to create can not be bound to a name.
        add(write, "apps", &["deployments"], &["create"], &[]);
        add(write, "apps", &["deployments"], &["patch"], &needs.workloads);
        add(write, "", &["services"], &["create"], &[]);
        add(write, "", &["services"], &["patch"], &needs.workloads);
        add(write, "autoscaling", &["horizontalpodautoscalers"], &["create", "patch"], &[]);
        add(write, "policy", &["poddisruptionbudgets"], &["create", "patch"], &[]);
        // Which of them has the weights is on the Services, not in the policy.
        for (_, group, resource) in weights.into_iter().filter(|(want, ..)| needs.wants(*want)) {
            add("write: the weights between the colours", group, &[resource], &["patch"], &[]);
        }
        if needs.wants(Want::HttpTests) {
            add("test: requests through the API server", "", &["services/proxy"], &["get"], &[]);
        }
        if needs.wants(Want::JobTests) {
            let test = "test: Jobs from a suspended CronJob, cleared away after";
            add(test, "batch", &["cronjobs"], &["get"], &[]);
            add(test, "batch", &["jobs"], &["create", "delete", "get", "list"], &[]);
        }
        for (group, resources) in listed(needs) {
            let resources: Vec<&str> = resources.iter().map(String::as_str).collect();
            add("back up: list everything that can be brought back", &group, &resources, &["list"], &[]);
            if needs.wants(Want::Restore) {
                add("restore: create, and change what is there", &group, &resources, &["create", "get", "patch"], &[]);
            }
        }
        if needs.wants(Want::Restore) {
            add("restore: whether the namespace is there", "", &["namespaces"], &["get"], &[]);
        }
    }
    rules
}

/// What a backup lists, by group.
fn listed(needs: &Needs) -> Vec<(String, Vec<String>)> {
    let all: Vec<(String, String)> = match &needs.kinds {
        Some(kinds) => kinds
            .iter()
            .filter(|kind| leave::kind(kind, needs.wants(Want::Secrets)).is_none())
            .map(|kind| (kind.group.clone(), kind.resource.clone()))
            .collect(),
        None => BUILT_IN
            .iter()
            .filter(|kind| needs.wants(Want::Secrets) || **kind != ("", "secrets"))
            .map(|(group, resource)| ((*group).to_owned(), (*resource).to_owned()))
            .collect(),
    };
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (group, resource) in all {
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, resources)) => resources.push(resource),
            None => groups.push((group, vec![resource])),
        }
    }
    for (_, resources) in &mut groups {
        resources.sort();
    }
    groups.sort();
    groups
}

/// The rules in the whole cluster; empty = none are needed.
pub fn cluster_rules(needs: &Needs) -> Vec<Rule> {
    if !needs.wants(Want::Capacity) {
        return Vec::new();
    }
    vec![Rule {
        purpose: "see capacity: what the nodes have left; none of it can be changed",
        group: String::new(),
        resources: vec!["nodes".into(), "pods".into()],
        verbs: vec!["list"],
        names: Vec::new(),
    }]
}

/// The rules in the namespace [`SYSTEM`]; empty = none are needed.
pub fn system_rules(needs: &Needs) -> Vec<Rule> {
    if !needs.wants(Want::Capacity) {
        return Vec::new();
    }
    vec![Rule {
        purpose: "see capacity: whether the Cluster Autoscaler makes nodes; without this right room is never told",
        group: String::new(),
        resources: vec!["configmaps".into()],
        verbs: vec!["get"],
        names: vec!["cluster-autoscaler-status".into()],
    }]
}

/// The rules for people who adopt a policy's services, and bring them back: `cluster adopt`, `cluster release`. Portcullis
/// itself needs none of them; what it may do, they may not.
pub fn adoption_rules(needs: &Needs) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut add = |purpose, group: &str, resource: &str, verbs: &[&'static str], names: &[String]| {
        rules.push(Rule {
            purpose,
            group: group.to_owned(),
            resources: vec![resource.to_owned()],
            verbs: verbs.to_vec(),
            names: names.to_vec(),
        });
    };
    let look = "look: what is there, who else writes it, what is ready";
    add(look, "apps", "deployments", &["get", "list"], &[]);
    add(look, "", "services", &["list"], &[]);
    add(look, "", "pods", &["list"], &[]);
    add(look, "discovery.k8s.io", "endpointslices", &["list"], &[]);
    add(look, "autoscaling", "horizontalpodautoscalers", &["list"], &[]);
    add(look, "policy", "poddisruptionbudgets", &["list"], &[]);
    add(look, "networking.k8s.io", "ingresses", &["list"], &[]);
    add(look, "elbv2.k8s.aws", "targetgroupbindings", &["list"], &[]);
    let change =
        "adopt and release: colours beside the plain Deployment, and back; what scales and protects them follows";
    // A right to create can not be bound to a name, and the owner of an autoscaler or a budget chose its name.
    add(change, "apps", "deployments", &["create"], &[]);
    add(change, "apps", "deployments", &["patch", "delete"], &needs.workloads);
    add(change, "", "services", &["patch", "delete"], &needs.workloads);
    add(change, "autoscaling", "horizontalpodautoscalers", &["create", "patch", "delete"], &[]);
    add(change, "policy", "poddisruptionbudgets", &["patch", "delete"], &[]);
    rules
}

/// Who gets the rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A group, such as an EKS access entry names.
    Group(String),
    /// A user.
    User(String),
    /// A service account: its namespace and name.
    ServiceAccount(String, String),
}

/// The Role of people who adopt services, with its binding, as YAML.
pub fn adoption_yaml(needs: &Needs, namespace: &str, subject: &Subject) -> String {
    let mut out = format!(
        "# Rights of people in the namespace {}: cluster adopt, cluster release.\n\
         # Written by: portcullis cluster rbac --adopt\n",
        shown(namespace)
    );
    document(&mut out, "Role", Some(namespace), ADOPTERS, &adoption_rules(needs), subject);
    out
}

/// The Role with its binding, and where rights in the whole cluster are needed a `ClusterRole` and a Role in [`SYSTEM`] with
/// their own, as YAML.
pub fn yaml(needs: &Needs, namespace: &str, subject: &Subject) -> String {
    let mut out = format!(
        "# Rights of Portcullis in the namespace {}.\n# {} Written by: portcullis cluster rbac\n",
        shown(namespace),
        if needs.wants(Want::Secrets) { "With Secrets." } else { "Without Secrets: they are not backed up." }
    );
    document(&mut out, "Role", Some(namespace), ROLE, &rules(needs), subject);
    let cluster = cluster_rules(needs);
    if !cluster.is_empty() {
        document(&mut out, "ClusterRole", None, &format!("{ROLE}-capacity"), &cluster, subject);
    }
    let system = system_rules(needs);
    if !system.is_empty() {
        document(&mut out, "Role", Some(SYSTEM), &format!("{ROLE}-capacity"), &system, subject);
    }
    out
}

fn document(out: &mut String, kind: &str, namespace: Option<&str>, name: &str, rules: &[Rule], subject: &Subject) {
    let metadata = |out: &mut String| {
        let _ = writeln!(out, "metadata:\n  name: {}", word(name));
        if let Some(namespace) = namespace {
            let _ = writeln!(out, "  namespace: {}", word(namespace));
        }
    };
    let list = |texts: &[String]| texts.iter().map(|text| word(text)).collect::<Vec<_>>().join(", ");
    let _ = writeln!(out, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}");
    metadata(out);
    out.push_str("rules:\n");
    let mut purpose = "";
    for rule in rules {
        if rule.purpose != purpose {
            purpose = rule.purpose;
            let _ = writeln!(out, "  # {purpose}");
        }
        let verbs: Vec<String> = rule.verbs.iter().map(|verb| (*verb).to_owned()).collect();
        let group = if rule.group.is_empty() { "\"\"".to_owned() } else { word(&rule.group) };
        let _ = writeln!(out, "  - apiGroups: [{group}]\n    resources: [{}]", list(&rule.resources));
        if !rule.names.is_empty() {
            let _ = writeln!(out, "    resourceNames: [{}]", list(&rule.names));
        }
        let _ = writeln!(out, "    verbs: [{}]", list(&verbs));
    }
    let _ = writeln!(out, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}Binding");
    metadata(out);
    let _ = writeln!(out, "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {}", word(name));
    out.push_str("subjects:\n");
    let _ = match subject {
        Subject::Group(name) => {
            writeln!(out, "  - apiGroup: rbac.authorization.k8s.io\n    kind: Group\n    name: {}", word(name))
        }
        Subject::User(name) => {
            writeln!(out, "  - apiGroup: rbac.authorization.k8s.io\n    kind: User\n    name: {}", word(name))
        }
        Subject::ServiceAccount(namespace, name) => {
            writeln!(out, "  - kind: ServiceAccount\n    name: {}\n    namespace: {}", word(name), word(namespace))
        }
    };
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn needs(mode: Mode) -> Needs {
        Needs {
            mode,
            workloads: ["web", "web-blue", "web-green"].map(str::to_owned).to_vec(),
            wants: BTreeSet::from([Want::HttpTests, Want::JobTests]),
            kinds: None,
        }
    }

    #[test]
    fn observing_only_reads() {
        let text = yaml(&needs(Mode::Observe), "shop", &Subject::Group("portcullis".into()));
        assert_snapshot!(text, @r#"
        # Rights of Portcullis in the namespace shop.
        # Without Secrets: they are not backed up. Written by: portcullis cluster rbac
        ---
        apiVersion: rbac.authorization.k8s.io/v1
        kind: Role
        metadata:
          name: portcullis
          namespace: shop
        rules:
          # look: what runs, what is ready, what keeps it from being so
          - apiGroups: [apps]
            resources: [deployments]
            verbs: [get, list]
          - apiGroups: [""]
            resources: [services]
            verbs: [get, list]
          - apiGroups: [""]
            resources: [pods, events, resourcequotas]
            verbs: [list]
          - apiGroups: [""]
            resources: [pods/log, configmaps]
            verbs: [get]
          - apiGroups: [discovery.k8s.io]
            resources: [endpointslices]
            verbs: [list]
          - apiGroups: [autoscaling]
            resources: [horizontalpodautoscalers]
            verbs: [get, list]
          - apiGroups: [policy]
            resources: [poddisruptionbudgets]
            verbs: [get, list]
          # look: which load balancer stands in front
          - apiGroups: [networking.k8s.io]
            resources: [ingresses]
            verbs: [list]
          - apiGroups: [elbv2.k8s.aws]
            resources: [targetgroupbindings]
            verbs: [list]
        ---
        apiVersion: rbac.authorization.k8s.io/v1
        kind: RoleBinding
        metadata:
          name: portcullis
          namespace: shop
        roleRef:
          apiGroup: rbac.authorization.k8s.io
          kind: Role
          name: portcullis
        subjects:
          - apiGroup: rbac.authorization.k8s.io
            kind: Group
            name: portcullis
        "#);
    }

    #[test]
    fn deploying_writes_its_own_objects_and_deletes_nothing_but_tests() {
        let rules = rules(&needs(Mode::Deploy));
        for rule in &rules {
            assert!(!rule.verbs.contains(&"delete") || rule.resources == ["jobs"], "{rule:?}");
            assert!(!rule.resources.iter().any(|resource| resource == "secrets" || resource == "*"), "{rule:?}");
            assert!(!rule.verbs.contains(&"*") && !rule.verbs.contains(&"escalate"), "{rule:?}");
        }
        let patch = rules.iter().find(|rule| rule.resources == ["services"] && rule.verbs == ["patch"]).unwrap();
        assert_eq!(patch.names, ["web", "web-blue", "web-green"]);
        assert!(rules.iter().any(|rule| rule.resources == ["services/proxy"]));
    }

    #[test]
    fn weights_need_what_they_are_on_and_nothing_else() {
        let of = |want: Option<Want>, mode| -> Vec<String> {
            let needs = want.into_iter().fold(needs(mode), Needs::with);
            let rules = rules(&needs);
            let weights = rules.iter().filter(|rule| rule.purpose.contains("weights"));
            weights.map(|rule| format!("{}: {}", rule.resources.join(" "), rule.verbs.join(" "))).collect()
        };
        assert_eq!(of(None, Mode::Deploy), Vec::<String>::new());
        assert_eq!(of(Some(Want::WeightsOnRoutes), Mode::Observe), ["httproutes: get list"]);
        assert_eq!(of(Some(Want::WeightsOnIngresses), Mode::Deploy), ["ingresses: get list", "ingresses: patch"]);
    }

    #[test]
    fn secrets_and_other_kinds_come_only_when_asked_for() {
        let kind = |group: &str, resource: &str, verbs: &[&str]| Kind {
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            kind: "X".into(),
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        };
        let all = ["create", "list", "patch"];
        let kinds = vec![
            kind("", "secrets", &all),
            kind("x.dev", "widgets", &all),
            kind("x.dev", "readings", &["list"]),
            kind("", "events", &all),
        ];
        let without = Needs { kinds: Some(kinds.clone()), ..needs(Mode::Deploy) };
        assert_eq!(listed(&without), [("x.dev".to_owned(), vec!["widgets".to_owned()])]);
        assert_eq!(listed(&without.with(Want::Secrets)).len(), 2);
        let restoring = rules(&needs(Mode::Deploy).with(Want::Restore));
        assert!(restoring.iter().any(|rule| rule.resources == ["namespaces"] && rule.verbs == ["get"]));
    }

    #[test]
    fn rights_in_the_whole_cluster_are_only_to_see_nodes_and_pods() {
        let text = yaml(
            &needs(Mode::Observe).with(Want::Capacity),
            "shop",
            &Subject::ServiceAccount("ops".into(), "portcullis".into()),
        );
        assert!(text.contains("kind: ClusterRole\nmetadata:\n  name: portcullis-capacity\nrules:"));
        assert!(text.contains("    resources: [nodes, pods]\n    verbs: [list]"));
        let system = "kind: Role\nmetadata:\n  name: portcullis-capacity\n  namespace: kube-system\nrules:";
        assert!(text.contains(system), "{text}");
        let note = "resources: [configmaps]\n    resourceNames: [cluster-autoscaler-status]\n    verbs: [get]";
        assert!(text.contains(note), "{text}");
        assert!(!yaml(&needs(Mode::Deploy), "shop", &Subject::Group("p".into())).contains("kube-system"));
        assert!(text.ends_with("  - kind: ServiceAccount\n    name: portcullis\n    namespace: ops\n"));
    }

    #[test]
    fn people_who_adopt_delete_only_what_is_a_services() {
        let needs = needs(Mode::Observe);
        for rule in adoption_rules(&needs) {
            let named = ["deployments", "services"].contains(&rule.resources[0].as_str());
            if named && rule.verbs.contains(&"delete") {
                assert_eq!(rule.names, needs.workloads, "{rule:?}");
            }
            assert!(!rule.resources.iter().any(|resource| ["secrets", "configmaps"].contains(&resource.as_str())));
        }
        let text = adoption_yaml(&needs, "shop", &Subject::Group(ADOPTERS.into()));
        assert!(
            text.contains("kind: Role\nmetadata:\n  name: portcullis-adopters\n  namespace: shop\nrules:"),
            "{text}"
        );
        assert!(text.ends_with("    kind: Group\n    name: portcullis-adopters\n"), "{text}");
    }
}
