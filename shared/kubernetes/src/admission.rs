//! Only released digests come in: a `ValidatingAdmissionPolicy` that the API server itself asks about every image of an
//! application's services. Pure: who and which services in, objects out.
//!
//! Judged is what changes. Whoever scales, restarts, or sets a variable is not asked; an image that is there already stays.
//!
//! | object | its images may change, or it may become a service's |
//! | --- | --- |
//! | Deployment | to the digest in its annotation [`RELEASED`], which Portcullis alone writes |
//! | `ReplicaSet`, Job, Pod | by the controller of Kubernetes that makes it from what was judged |
//! | anything else that makes pods | never |
//!
//! A service's are the Deployments of its name and of its colours, and whatever makes pods that are labelled as one of a
//! colour: only these get a service's requests. Everything else in the namespace is left alone.
//!
//! It fails closed: the API server asks nobody else, so there is nothing that can be down; an expression that fails is one
//! that somebody made fail. What goes wrong all the same is ended by deleting the binding, which no policy can refuse
//! (Kubernetes documentation, "Validating Admission Policy": policies and bindings are not matched by policies).

use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::Colour;
use serde_json::{Value as Json, json};

use crate::backup::wire::shown;
use crate::backup::yaml_write::yaml as written;
use crate::objects::{ACCEPTS, COLOUR, CONTAINER, OURS, RELEASED, SERVICE, coloured};
use crate::rbac::Subject;

/// What a change is audited as that the break-glass group made and nobody else could have; the policy's name and a slash
/// come before it.
pub const BREAK_GLASS: &str = "break-glass";
/// Groups that everybody is in, or every program: as a break-glass group they would switch the policy off.
const EVERYBODY: [&str; 4] =
    ["system:authenticated", "system:unauthenticated", "system:serviceaccounts", "system:nodes"];

/// What is done with a change that is not permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforce {
    /// It is made, and whoever made it is warned; the API server's audit log has it.
    Audit,
    /// It is refused; the audit log has it.
    Deny,
}

/// What the policy is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    target: TargetId,
    namespace: String,
    services: Vec<ServiceName>,
    writer: Subject,
    break_glass: Option<String>,
    enforce: Enforce,
}

/// A break-glass group that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBreakGlass {
    /// It has no name.
    #[error("the break-glass group has no name")]
    Nameless,
    /// Everybody is in it.
    #[error("everybody is in the group {0}: nothing would be refused")]
    Everybody(String),
    /// It is Portcullis's own.
    #[error("Portcullis itself is in the group {0}: people need another one, so that the audit log tells them apart")]
    Own(String),
}

impl Admission {
    /// For a target's services in its namespace, all of which `writer` releases. Without a break-glass group nobody else
    /// may while it is enforced.
    ///
    /// # Errors
    /// The break-glass group is one that everybody, or Portcullis itself, is in.
    pub fn new(
        target: TargetId,
        namespace: String,
        services: Vec<ServiceName>,
        writer: Subject,
        break_glass: Option<String>,
        enforce: Enforce,
    ) -> Result<Self, NoBreakGlass> {
        if let Some(group) = &break_glass {
            if group.trim().is_empty() {
                return Err(NoBreakGlass::Nameless);
            }
            if EVERYBODY.contains(&group.as_str()) {
                return Err(NoBreakGlass::Everybody(group.clone()));
            }
            if writer == Subject::Group(group.clone()) {
                return Err(NoBreakGlass::Own(group.clone()));
            }
        }
        Ok(Self { target, namespace, services, writer, break_glass, enforce })
    }

    /// The name of the policy and of its binding: one per target, whatever the cluster has for others.
    pub fn name(&self) -> String {
        format!("portcullis.{}.{}", self.target.app, self.target.env)
    }

    /// The policy, of `admissionregistration.k8s.io/v1` (Kubernetes 1.30 and newer).
    pub fn policy(&self) -> Json {
        let rule = |group: &str, resources: &[&str]| {
            json!({ "apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": resources })
        };
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": self.name() },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "matchPolicy": "Equivalent",
                    "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": self.namespace } },
                    "resourceRules": [
                        rule("apps", &["deployments", "replicasets", "statefulsets", "daemonsets"]),
                        rule("batch", &["jobs", "cronjobs"]),
                        rule("", &["pods", "replicationcontrollers"]),
                    ],
                },
                "matchConditions": [{ "name": "is-of-a-service", "expression": self.of_a_service() }],
                "variables": self.variables(),
                "validations": self.validations(),
                "auditAnnotations": [{ "key": BREAK_GLASS, "valueExpression": AUDITED }],
            },
        })
    }

    /// What puts the policy into force.
    pub fn binding(&self) -> Json {
        let actions = match self.enforce {
            Enforce::Audit => ["Audit", "Warn"],
            Enforce::Deny => ["Deny", "Audit"],
        };
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": self.name() },
            "spec": { "policyName": self.name(), "validationActions": actions },
        })
    }

    /// Both as YAML.
    pub fn yaml(&self) -> String {
        let who = match &self.break_glass {
            Some(group) => format!("The group {} may do all the same; the audit log has it.", shown(group)),
            None => "There is no break-glass group: in an emergency delete the binding.".to_owned(),
        };
        let what = match self.enforce {
            Enforce::Audit => "It warns, and refuses nothing.",
            Enforce::Deny => "It refuses.",
        };
        format!(
            "# Only digests that Portcullis released run as services of {} in the namespace {}.\n# {what} {who}\n\
             # Written by: portcullis cluster admission\n---\n{}---\n{}",
            self.target,
            shown(&self.namespace),
            written(&self.policy()),
            written(&self.binding())
        )
    }

    /// The Deployments that are of a service whatever their labels say.
    fn deployments(&self) -> Vec<String> {
        let colours = |service: &ServiceName| {
            let [blue, green] = [Colour::Blue, Colour::Green].map(|colour| coloured(service, colour));
            [service.to_string(), blue, green]
        };
        self.services.iter().flat_map(colours).collect()
    }

    /// Whether a request is about a service, before or after it. Nothing else of the policy is asked otherwise.
    fn of_a_service(&self) -> String {
        let names = list(&self.deployments());
        let marked = |object: &str| {
            let labels = format!("({}).?metadata.?labels.orValue({{}})", template(object));
            format!("{}.exists(mark, mark in {labels})", list(&MARKS))
        };
        format!(
            "request.resource.resource == 'deployments' && dyn(object).metadata.?name.orValue('') in {names}\n\
             || {}\n|| oldObject != null && {}",
            marked("object"),
            marked("oldObject")
        )
    }

    /// What the validations speak of, each with what it is made of before it.
    fn variables(&self) -> Vec<Json> {
        let in_group = |group: &str| format!("{} in request.userInfo.?groups.orValue([])", text(group));
        let is_user = |name: &str| format!("request.userInfo.username == {}", text(name));
        let portcullis = match &self.writer {
            Subject::Group(group) => in_group(group),
            Subject::User(name) => is_user(name),
            Subject::ServiceAccount(namespace, name) => is_user(&format!("system:serviceaccount:{namespace}:{name}")),
        };
        let may = self.break_glass.as_deref().map_or_else(|| "false".to_owned(), in_group);
        let containers =
            |of: &str| format!("{of}.?spec.?initContainers.orValue([]) + {of}.?spec.?containers.orValue([])");
        let variable = |name: &str, expression: &str| json!({ "name": name, "expression": expression });
        vec![
            variable("portcullis", &portcullis),
            variable("breakGlass", &may),
            variable("controller", CONTROLLER),
            variable("isDeployment", "request.resource.resource == 'deployments'"),
            variable("name", "dyn(object).metadata.?name.orValue('')"),
            variable("pods", &template("object")),
            variable("podsBefore", &format!("oldObject == null ? dyn({{}})\n: {}", template("oldObject"))),
            variable("labels", "variables.pods.?metadata.?labels.orValue({})"),
            variable("labelsBefore", "variables.podsBefore.?metadata.?labels.orValue({})"),
            // What is made, and what becomes a service's, has no image from before.
            variable(
                "arrives",
                &format!(
                    "oldObject == null || {}.exists(mark,\n  mark in variables.labels && \
                     variables.labelsBefore[?mark].orValue('') != variables.labels[mark])",
                    list(&MARKS)
                ),
            ),
            variable(
                "imagesBefore",
                &format!(
                    "variables.arrives ? []\n: ({}).map(one, one.name + '=' + one.?image.orValue(''))",
                    containers("variables.podsBefore")
                ),
            ),
            variable(
                "images",
                &format!(
                    "({})\n  .filter(one, !(one.name + '=' + one.?image.orValue('') in variables.imagesBefore))\n  \
                     .map(one, one.?image.orValue(''))",
                    containers("variables.pods")
                ),
            ),
            variable("annotations", "dyn(object).metadata.?annotations.orValue({})"),
            variable(
                "annotationsBefore",
                "oldObject == null ? dyn({}) : dyn(oldObject).metadata.?annotations.orValue({})",
            ),
            // What somebody else wrote there before it became a service's says nothing.
            variable(
                "released",
                &format!(
                    "variables.arrives && !variables.portcullis ? 'none' : variables.annotations[?{}].orValue('none')",
                    text(RELEASED)
                ),
            ),
            variable("unreleased", "variables.images.filter(image, !image.endsWith('@' + variables.released))"),
            variable(
                "repositories",
                "variables.images.filter(image, image.endsWith('@' + variables.released)).map(image, image.split('@')[0])",
            ),
            // What Portcullis writes holds what it released; a sidecar of another repository comes along.
            variable(
                "carried",
                "variables.repositories.size() > 0 && variables.unreleased.all(image, !variables.repositories.exists(own,\n  \
                 image == own || image.startsWith(own + ':') || image.startsWith(own + '@')))",
            ),
            variable("stamps", &stamps()),
            variable(
                "imagesRefused",
                "variables.isDeployment && variables.unreleased.size() > 0 && !(variables.portcullis && variables.carried)",
            ),
            variable("stampsRefused", "variables.isDeployment && variables.stamps.size() > 0 && !variables.portcullis"),
            variable("madeRefused", "!variables.isDeployment && variables.images.size() > 0 && !variables.controller"),
        ]
    }

    fn validations(&self) -> Json {
        let help = self.help();
        let validation = |refused: &str, said: &str, end: &str, always: &str| {
            json!({
                "expression": format!("variables.breakGlass || !variables.{refused}"),
                // 422, the default, is what an object is answered that is not valid.
                "reason": "Forbidden",
                "messageExpression": format!("{said} + {}", text(&format!("{end}. {help}"))),
                // Said where the other one is not one line.
                "message": format!("{always}. {help}"),
            })
        };
        json!([
            validation(
                "imagesRefused",
                "'Portcullis releases ' + variables.name + ', and did not release ' + variables.unreleased.join(', ')",
                "",
                "Portcullis releases this, and did not release its image",
            ),
            validation(
                "stampsRefused",
                "'annotations of ' + variables.name + ' say what Portcullis did: ' + variables.stamps.join(', ')",
                ". It alone writes them",
                "Annotations say what Portcullis did, and it alone writes them",
            ),
            validation(
                "madeRefused",
                "request.kind.kind + ' ' + variables.name + ' would run ' + variables.images.join(', ')",
                " as a service that Portcullis releases",
                "This would run as a service that Portcullis releases",
            ),
        ])
    }

    /// What to do instead. Without ` cannot `, by which clients know a missing right.
    fn help(&self) -> String {
        let emergency = match &self.break_glass {
            Some(group) => format!("in an emergency the group {} may do it by hand", shown(group)),
            None => format!(
                "in an emergency an administrator ends this by kubectl delete validatingadmissionpolicybinding {}",
                self.name()
            ),
        };
        format!("Use portcullis release start {0} COMMIT, or portcullis rollback {0}; {emergency}", self.target)
    }
}

/// Labels by which pods are a service's.
const MARKS: [&str; 2] = [SERVICE, COLOUR];
/// What the audit log has of the break-glass group; nothing where anybody could have done it.
const AUDITED: &str = "variables.breakGlass && (variables.imagesRefused || variables.stampsRefused || variables.madeRefused)\n\
     ? request.userInfo.username + ' broke the glass: ' + request.kind.kind + ' ' + variables.name + ' '\n  \
     + (variables.images + variables.stamps).join(', ')\n\
     : ''";
/// The controllers of Kubernetes, each where it makes objects from others that were judged themselves. The first is who they
/// all are where they have no accounts of their own.
const CONTROLLER: &str = "request.userInfo.username == 'system:kube-controller-manager'\n  \
     || request.resource.resource == 'replicasets'\n    \
     && request.userInfo.username == 'system:serviceaccount:kube-system:deployment-controller'\n  \
     || request.resource.resource == 'jobs'\n    \
     && request.userInfo.username == 'system:serviceaccount:kube-system:cronjob-controller'\n  \
     || request.resource.resource == 'pods' && request.userInfo.username in [\n    \
     'system:serviceaccount:kube-system:replicaset-controller',\n    \
     'system:serviceaccount:kube-system:replication-controller',\n    \
     'system:serviceaccount:kube-system:statefulset-controller',\n    \
     'system:serviceaccount:kube-system:daemon-set-controller',\n    \
     'system:serviceaccount:kube-system:job-controller']";

/// The pods that an object is, or makes. Its type differs by kind, so it is looked at without one.
fn template(object: &str) -> String {
    format!(
        "request.resource.resource == 'pods' ? dyn({object})\n\
         : request.resource.resource == 'cronjobs' ? dyn({object}).spec.jobTemplate.spec.template\n\
         : dyn({object}).spec.template"
    )
}

/// Annotations that say what Portcullis did and are not as they were. A person writes two of its keys.
fn stamps() -> String {
    let protected = format!("key.startsWith({}) && !(key in {})", text(OURS), list(&[ACCEPTS, CONTAINER]));
    format!(
        "variables.annotations.map(key, key).filter(key, {protected}\n  && \
         !(key in variables.annotationsBefore && variables.annotationsBefore[key] == variables.annotations[key]))\n\
         + variables.annotationsBefore.map(key, key).filter(key, {protected}\n  && !(key in variables.annotations))"
    )
}

/// A text of CEL. What JSON escapes, CEL does alike.
fn text(text: &str) -> String {
    Json::from(text).to_string()
}

fn list<T: AsRef<str>>(texts: &[T]) -> String {
    format!("[{}]", texts.iter().map(|one| text(one.as_ref())).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn admission(writer: Subject, break_glass: Option<&str>, enforce: Enforce) -> Result<Admission, NoBreakGlass> {
        let services = ["web", "mail"].map(|name| ServiceName::new(name).unwrap()).to_vec();
        let break_glass = break_glass.map(str::to_owned);
        Admission::new("shop/production".parse().unwrap(), "shop".into(), services, writer, break_glass, enforce)
    }

    fn usual(enforce: Enforce) -> Admission {
        admission(Subject::Group("portcullis".into()), Some("on-call"), enforce).unwrap()
    }

    fn variable(admission: &Admission, name: &str) -> String {
        let policy = admission.policy();
        let all = policy["spec"]["variables"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap()["expression"].as_str().unwrap().to_owned()
    }

    #[test]
    fn it_is_written_as_it_is_applied() {
        assert_snapshot!(usual(Enforce::Deny).yaml());
    }

    #[test]
    fn what_is_only_audited_is_refused_to_nobody() {
        let actions = |enforce| usual(enforce).binding()["spec"]["validationActions"].clone();
        assert_eq!(actions(Enforce::Audit), json!(["Audit", "Warn"]));
        assert_eq!(actions(Enforce::Deny), json!(["Deny", "Audit"]));
        assert!(usual(Enforce::Audit).yaml().contains("# It warns, and refuses nothing."));
    }

    #[test]
    fn the_writer_is_the_one_that_has_the_rights() {
        let of = |writer| variable(&admission(writer, None, Enforce::Deny).unwrap(), "portcullis");
        assert_eq!(of(Subject::Group("p".into())), r#""p" in request.userInfo.?groups.orValue([])"#);
        assert_eq!(of(Subject::User("p".into())), r#"request.userInfo.username == "p""#);
        let account = Subject::ServiceAccount("ops".into(), "p".into());
        assert_eq!(of(account), r#"request.userInfo.username == "system:serviceaccount:ops:p""#);
    }

    #[test]
    fn without_a_break_glass_group_the_words_say_how_to_end_it() {
        let none = admission(Subject::User("p".into()), None, Enforce::Deny).unwrap();
        assert_eq!(variable(&none, "breakGlass"), "false");
        let message = none.policy()["spec"]["validations"][0]["message"].as_str().unwrap().to_owned();
        let binding = none.binding()["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(message.ends_with(&format!("kubectl delete validatingadmissionpolicybinding {binding}")), "{message}");
    }

    #[test]
    fn a_break_glass_group_is_nobody_elses() {
        let with = |group| admission(Subject::Group("portcullis".into()), Some(group), Enforce::Deny);
        assert!(with("on-call").is_ok());
        assert_eq!(with(" "), Err(NoBreakGlass::Nameless));
        assert_eq!(with("portcullis"), Err(NoBreakGlass::Own("portcullis".into())));
        for all in EVERYBODY {
            assert_eq!(with(all), Err(NoBreakGlass::Everybody(all.to_owned())));
        }
    }

    #[test]
    fn a_name_with_quotes_stays_a_text() {
        let admission = admission(Subject::User("o'\"\\ || true".into()), None, Enforce::Deny).unwrap();
        assert_eq!(variable(&admission, "portcullis"), r#"request.userInfo.username == "o'\"\\ || true""#);
    }

    /// Clients, ours among them, take `User "x" cannot patch resource` for a missing right.
    #[test]
    fn a_refusal_is_not_taken_for_a_missing_right() {
        let policy = usual(Enforce::Deny).policy();
        for validation in policy["spec"]["validations"].as_array().unwrap() {
            assert_eq!(validation["reason"], "Forbidden");
            for words in ["message", "messageExpression"] {
                let words = validation[words].as_str().unwrap();
                assert!(
                    !words.contains(" cannot ") && words.contains("portcullis rollback shop/production"),
                    "{words}"
                );
            }
        }
    }
}
