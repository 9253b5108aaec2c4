//! Who writes which field of an object, by its `metadata.managedFields`, and what to change so that two do not fight.
//!
//! Pure: an object in, words out. Kubernetes documentation, "Server-Side Apply", section "Field management".

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use crate::backup::object::{ObjectRef, annotation, group, kind, label, list, name, text};
use crate::backup::wire::shown;
use crate::backup::yaml_write::word;

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Writer {
    /// Portcullis.
    Ours,
    /// Argo CD, for the application it names; none = it does not say which.
    ArgoCd(Option<String>),
    /// Flux's kustomize-controller, for `NAMESPACE/NAME` of a Kustomization.
    FluxKustomization(Option<String>),
    /// Flux's helm-controller, for `NAMESPACE/NAME` of a `HelmRelease`.
    FluxHelm(Option<String>),
    /// Helm, for the release it names.
    Helm(Option<String>),
    /// Somebody, or a pipeline, with `kubectl apply`.
    KubectlApply,
    /// Somebody with `kubectl edit`, `scale`, `set`, `patch` and the like: once.
    Kubectl,
    /// The horizontal autoscaler.
    Autoscaler,
    /// Kubernetes' own controllers.
    Kubernetes,
    /// Anything else, by its manager's name.
    Other(String),
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |f: &mut fmt::Formatter<'_>, who: &str, of: &Option<String>| match of {
            Some(of) => write!(f, "{who} ({of})"),
            None => f.write_str(who),
        };
        match self {
            Writer::Ours => f.write_str("Portcullis"),
            Writer::ArgoCd(app) => of(f, "Argo CD", app),
            Writer::FluxKustomization(name) => of(f, "Flux Kustomization", name),
            Writer::FluxHelm(name) => of(f, "Flux HelmRelease", name),
            Writer::Helm(release) => of(f, "Helm", release),
            Writer::KubectlApply => f.write_str("kubectl apply"),
            Writer::Kubectl => f.write_str("kubectl"),
            Writer::Autoscaler => f.write_str("the autoscaler"),
            Writer::Kubernetes => f.write_str("Kubernetes"),
            Writer::Other(manager) => f.write_str(manager),
        }
    }
}

impl Writer {
    /// Whether it writes again by itself, so that a change of ours would not last.
    pub fn writes_again(&self) -> bool {
        matches!(self, Writer::ArgoCd(_) | Writer::FluxKustomization(_) | Writer::FluxHelm(_))
    }

    /// Whether its writing is what Portcullis reckons with.
    fn is_expected(&self) -> bool {
        matches!(self, Writer::Ours | Writer::Autoscaler | Writer::Kubernetes)
    }
}

/// One entry of `managedFields`.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    /// Who it is.
    pub writer: Writer,
    /// The manager's own name, without control characters.
    pub manager: String,
    /// Whether it applies server-side; else it updates.
    pub applies: bool,
    /// When it last wrote, as the cluster has it; empty = not told.
    pub at: String,
    fields: Json,
}

/// A field, from the top of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Name(String),
    /// An item of a list, by its key and value.
    Item(String, String),
}

impl Field {
    /// The field at the end of these names.
    pub fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|name| Part::Name((*name).to_owned())).collect())
    }

    /// With the item of a list whose `key` is `value`.
    #[must_use]
    pub fn item(mut self, key: &str, value: &str) -> Self {
        self.0.push(Part::Item(key.to_owned(), value.to_owned()));
        self
    }

    /// With a field below.
    #[must_use]
    pub fn then(mut self, name: &str) -> Self {
        self.0.push(Part::Name(name.to_owned()));
        self
    }

    /// A container's image in a workload's template.
    pub fn image(container: &str) -> Self {
        Self::of(&["spec", "template", "spec", "containers"]).item("name", container).then("image")
    }

    /// As a JSON pointer (RFC 6901); none if an item of a list is named by its key.
    fn pointer(&self) -> Option<String> {
        let part = |part: &Part| match part {
            Part::Name(name) => Some(format!("/{}", name.replace('~', "~0").replace('/', "~1"))),
            Part::Item(..) => None,
        };
        self.0.iter().map(part).collect()
    }

    /// As a path expression of jq.
    fn jq(&self) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Name(name) if is_word(name) => out.extend([".", name]),
                Part::Name(name) => {
                    let _ = write!(out, ".[{}]", Json::from(name.as_str()));
                }
                Part::Item(key, value) => {
                    let _ = write!(out, "[] | select(.{key} == {}) | ", Json::from(value.as_str()));
                }
            }
        }
        out
    }
}

fn is_word(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// `spec.template.spec.containers[name=web].image`.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            match part {
                Part::Name(name) if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') => {
                    write!(f, "{}{name}", if at == 0 { "" } else { "." })?;
                }
                Part::Name(name) => write!(f, "[{:?}]", shown(name))?,
                Part::Item(key, value) => write!(f, "[{key}={}]", shown(value))?,
            }
        }
        Ok(())
    }
}

/// Who writes an object, as the cluster recorded it.
pub fn owners(object: &Json) -> Vec<Owner> {
    let entries = list(object, "/metadata/managedFields").iter();
    entries
        .map(|entry| {
            let manager = text(entry, "/manager");
            let (applies, subresource) = (text(entry, "/operation") == "Apply", text(entry, "/subresource"));
            Owner {
                writer: writer(object, manager, applies, subresource),
                manager: shown(manager),
                applies,
                at: shown(text(entry, "/time")),
                fields: entry["fieldsV1"].clone(),
            }
        })
        .collect()
}

fn writer(object: &Json, manager: &str, applies: bool, subresource: &str) -> Writer {
    let labelled = |name: &str, namespace: &str| {
        let of = shown(label(object, name)?);
        Some(label(object, namespace).map_or(of.clone(), |namespace| format!("{}/{of}", shown(namespace))))
    };
    let kustomization = || labelled("kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace");
    let flux_release = || labelled("helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace");
    match manager {
        _ if manager == crate::objects::FIELD_MANAGER || manager.starts_with("portcullis") => Writer::Ours,
        "argocd-controller" | "argocd-application-controller" => Writer::ArgoCd(argo_app(object)),
        "kustomize-controller" => Writer::FluxKustomization(kustomization()),
        "helm-controller" => Writer::FluxHelm(flux_release()),
        "helm" | "terraform-provider-helm" => Writer::Helm(annotation(object, "meta.helm.sh/release-name").map(shown)),
        // Argo CD up to 2.4 applied as kubectl does.
        "kubectl-client-side-apply" | "kubectl" if argo_app(object).is_some() && subresource.is_empty() => {
            Writer::ArgoCd(argo_app(object))
        }
        "kubectl-client-side-apply" | "kubectl-last-applied" => Writer::KubectlApply,
        "kubectl" if applies => Writer::KubectlApply,
        "kubectl" => Writer::Kubectl,
        _ if manager.starts_with("kubectl-") => Writer::Kubectl,
        "kube-controller-manager" if subresource == "scale" => Writer::Autoscaler,
        "kube-controller-manager" | "kube-scheduler" | "kube-apiserver" | "kubelet" => Writer::Kubernetes,
        other => Writer::Other(shown(other)),
    }
}

/// The application by which Argo CD knows an object: the annotation `tracking-id` is `APP:GROUP/KIND:NAMESPACE/NAME`.
fn argo_app(object: &Json) -> Option<String> {
    let by_annotation = annotation(object, "argocd.argoproj.io/tracking-id").and_then(|id| id.split(':').next());
    by_annotation.or_else(|| label(object, "argocd.argoproj.io/instance")).map(shown).filter(|app| !app.is_empty())
}

impl Owner {
    /// Whether it owns a field, or something above it as a whole.
    pub fn owns(&self, field: &Field) -> bool {
        let mut at = match self.fields.as_object() {
            Some(fields) if !fields.is_empty() => fields,
            _ => return false,
        };
        for part in &field.0 {
            match below(at, part) {
                // A leaf: all of what is below it is this manager's.
                Some(found) if found.is_empty() => return true,
                Some(found) => at = found,
                None => return false,
            }
        }
        true
    }
}

/// One level down in `fieldsV1`: `f:NAME`, or `k:{"name":"web"}` of a list.
fn below<'a>(fields: &'a Map<String, Json>, part: &Part) -> Option<&'a Map<String, Json>> {
    match part {
        Part::Name(name) => fields.get(&format!("f:{name}"))?.as_object(),
        Part::Item(key, value) => fields.iter().find_map(|(found, below)| {
            let keys: Json = serde_json::from_str(found.strip_prefix("k:")?).ok()?;
            (keys[key.as_str()] == value.as_str()).then(|| below.as_object()).flatten()
        }),
    }
}

/// The one of the others who wrote a field last; none = nobody but us and Kubernetes itself.
pub fn last_other(object: &Json, fields: &[Field]) -> Option<Owner> {
    let others = owners(object).into_iter().filter(|owner| owner.writer != Writer::Ours);
    others.filter(|owner| fields.iter().any(|field| owner.owns(field))).max_by(|a, b| a.at.cmp(&b.at))
}

/// Somebody else who owns fields that Portcullis writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The object.
    pub object: ObjectRef,
    /// Who.
    pub writer: Writer,
    /// The manager's own name.
    pub manager: String,
    /// When it last wrote; empty = not told.
    pub at: String,
    /// Which fields.
    pub fields: Vec<Field>,
    /// What would happen, in a sentence.
    pub why: String,
    /// What to do, in a sentence.
    pub fix: String,
    /// YAML to add, where there is some.
    pub yaml: Option<String>,
}

/// What Portcullis writes of an object; `container` is the service's own, and of an Ingress the service itself.
pub fn written_fields(object: &Json, container: &str) -> Vec<Field> {
    match (group(object), kind(object)) {
        ("apps", "Deployment") => vec![Field::of(&["spec", "replicas"]), Field::image(container)],
        ("", "Service") => vec![Field::of(&["spec", "selector"])],
        ("autoscaling", "HorizontalPodAutoscaler") => {
            vec![Field::of(&["spec", "minReplicas"]), Field::of(&["spec", "maxReplicas"])]
        }
        ("gateway.networking.k8s.io", "HTTPRoute") => vec![Field::of(&["spec", "rules"])],
        ("networking.k8s.io", "Ingress") => {
            vec![Field::of(&["metadata", "annotations", &crate::weights::action_key(container)])]
        }
        _ => Vec::new(),
    }
}

/// Who else owns these fields, one conflict for each, those first who write again by themselves.
pub fn conflicts(object: &Json, fields: &[Field]) -> Vec<Conflict> {
    let mut by_writer: BTreeMap<Writer, (Owner, Vec<Field>)> = BTreeMap::new();
    for owner in owners(object).into_iter().filter(|owner| !owner.writer.is_expected()) {
        for field in fields.iter().filter(|field| owner.owns(field)) {
            let (kept, owned) = by_writer.entry(owner.writer.clone()).or_insert_with(|| (owner.clone(), Vec::new()));
            if !owned.contains(field) {
                owned.push(field.clone());
            }
            if owner.at > kept.at {
                *kept = owner.clone();
            }
        }
    }
    let mut found: Vec<Conflict> =
        by_writer.into_values().map(|(owner, fields)| conflict(object, owner, fields)).collect();
    found.sort_by_key(|conflict| !conflict.writer.writes_again());
    found
}

fn conflict(object: &Json, owner: Owner, fields: Vec<Field>) -> Conflict {
    let named = shown(&ObjectRef::of(object).to_string());
    let list = fields.iter().map(Field::to_string).collect::<Vec<_>>().join(", ");
    let who = &owner.writer;
    let (why, fix, yaml) = match who {
        Writer::ArgoCd(app) => (
            format!("{who} writes {list} of {named}, and would undo a switch or a rollback at its next sync"),
            match app {
                Some(app) => format!("add this to the Application {app}"),
                None => "add this to the Application that has it".to_owned(),
            },
            Some(ignore_differences(object, &fields)),
        ),
        Writer::FluxKustomization(_) => (
            format!("{who} writes {list} of {named}, and would undo a switch or a rollback within its interval"),
            format!("add this annotation to {named} in Git: Flux then creates it where it is missing and leaves it alone after"),
            Some("metadata:\n  annotations:\n    kustomize.toolkit.fluxcd.io/ssa: IfNotPresent\n".to_owned()),
        ),
        Writer::FluxHelm(_) => (
            format!("{who} writes {list} of {named}, and would undo a switch or a rollback at its next upgrade or drift correction"),
            "add this to the HelmRelease, and take the fields out of the chart's templates: an upgrade writes them whatever \
             is ignored"
                .to_owned(),
            Some(flux_ignore(object, &fields)),
        ),
        Writer::Helm(release) => (
            format!("{who} writes {list} of {named} at its next upgrade"),
            match release {
                Some(release) => format!("take these fields out of the chart of {release}, or stop upgrading it for releases"),
                None => "take these fields out of the chart, or stop upgrading it for releases".to_owned(),
            },
            None,
        ),
        Writer::KubectlApply => (
            format!("{list} of {named} came by kubectl apply{}, and the next one writes it again", at(&owner)),
            "take these fields out of the manifest that is applied; a pipeline that applies it deploys beside Portcullis".to_owned(),
            None,
        ),
        Writer::Kubectl => (
            format!("{list} of {named} was changed by hand ({}{})", owner.manager, at(&owner)),
            "nothing, if that is over: the next release writes it. It is told as a change by hand, never overwritten unseen".to_owned(),
            None,
        ),
        _ => (
            format!("{} writes {list} of {named}{}", owner.manager, at(&owner)),
            format!("find out what {} is, and let it leave these fields alone", owner.manager),
            None,
        ),
    };
    Conflict {
        object: ObjectRef::of(object),
        writer: owner.writer,
        manager: owner.manager,
        at: owner.at,
        fields,
        why,
        fix,
        yaml,
    }
}

fn at(owner: &Owner) -> String {
    if owner.at.is_empty() { String::new() } else { format!(" at {}", owner.at) }
}

/// What an Argo CD Application needs so that it leaves these fields alone, also when it syncs (Argo CD documentation,
/// "Diffing Customization", and "Sync Options", `RespectIgnoreDifferences`).
fn ignore_differences(object: &Json, fields: &[Field]) -> String {
    let mut out = String::from("spec:\n  ignoreDifferences:\n");
    let group = group(object);
    if group.is_empty() {
        out.push_str("    - kind: ");
    } else {
        let _ = write!(out, "    - group: {}\n      kind: ", word(group));
    }
    let _ = writeln!(out, "{}\n      name: {}", word(kind(object)), word(name(object)));
    let namespace = text(object, "/metadata/namespace");
    if !namespace.is_empty() {
        let _ = writeln!(out, "      namespace: {}", word(namespace));
    }
    let pointers: Vec<String> = fields.iter().filter_map(Field::pointer).collect();
    let paths: Vec<String> = fields.iter().filter(|field| field.pointer().is_none()).map(Field::jq).collect();
    if !pointers.is_empty() {
        out.push_str("      jsonPointers:\n");
        out.extend(pointers.iter().map(|pointer| format!("        - {}\n", word(pointer))));
    }
    if !paths.is_empty() {
        out.push_str("      jqPathExpressions:\n");
        // In single quotes, in which only they themselves are doubled.
        out.extend(paths.iter().map(|path| format!("        - '{}'\n", path.replace('\'', "''"))));
    }
    out.push_str("  syncPolicy:\n    syncOptions:\n      - RespectIgnoreDifferences=true\n");
    out
}

/// What a Flux `HelmRelease` needs (Flux documentation, "Helm Releases", section "Drift detection").
fn flux_ignore(object: &Json, fields: &[Field]) -> String {
    // It knows JSON pointers only: of an item, the list as a whole.
    let mut paths: Vec<String> = fields
        .iter()
        .map(|field| {
            let before: Vec<Part> = field.0.iter().take_while(|part| matches!(part, Part::Name(_))).cloned().collect();
            Field(before).pointer().unwrap_or_default()
        })
        .collect();
    paths.dedup();
    let paths = paths.iter().map(|path| format!("          - {}", word(path))).collect::<Vec<_>>().join("\n");
    format!(
        "spec:\n  driftDetection:\n    ignore:\n      - target:\n          kind: {}\n          name: {}\n        paths:\n{paths}\n",
        word(kind(object)),
        word(name(object))
    )
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;

    fn deployment(metadata: &Json, managed: &Json) -> Json {
        let mut object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata });
        object["metadata"]["name"] = "web".into();
        object["metadata"]["namespace"] = "shop".into();
        object["metadata"]["managedFields"] = managed.clone();
        object
    }

    fn replicas_and_image() -> Json {
        json!({ "f:spec": { "f:replicas": {}, "f:template": { "f:spec": { "f:containers": {
            "k:{\"name\":\"web\"}": { ".": {}, "f:image": {} } } } } } })
    }

    fn found(object: &Json) -> String {
        conflicts(object, &written_fields(object, "web"))
            .iter()
            .map(|conflict| {
                format!("{}\n> {}\n{}", conflict.why, conflict.fix, conflict.yaml.clone().unwrap_or_default())
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn argo_cd_is_named_with_the_exact_differences_to_ignore() {
        let object = deployment(
            &json!({ "annotations": { "argocd.argoproj.io/tracking-id": "storefront:apps/Deployment:shop/web" } }),
            &json!([{ "manager": "argocd-controller", "operation": "Apply", "time": "2026-11-20T08:00:00Z", "fieldsV1": replicas_and_image() }]),
        );
        assert_snapshot!(found(&object), @r#"
        Argo CD (storefront) writes spec.replicas, spec.template.spec.containers[name=web].image of Deployment/web, and would undo a switch or a rollback at its next sync
        > add this to the Application storefront
        spec:
          ignoreDifferences:
            - group: apps
              kind: Deployment
              name: web
              namespace: shop
              jsonPointers:
                - /spec/replicas
              jqPathExpressions:
                - '.spec.template.spec.containers[] | select(.name == "web") | .image'
          syncPolicy:
            syncOptions:
              - RespectIgnoreDifferences=true
        "#);
    }

    #[test]
    fn flux_is_named_with_its_annotation() {
        let object = deployment(
            &json!({ "labels": { "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system" } }),
            &json!([{ "manager": "kustomize-controller", "operation": "Apply", "fieldsV1": { "f:spec": { "f:replicas": {} } } }]),
        );
        assert_snapshot!(found(&object), @r"
        Flux Kustomization (flux-system/apps) writes spec.replicas of Deployment/web, and would undo a switch or a rollback within its interval
        > add this annotation to Deployment/web in Git: Flux then creates it where it is missing and leaves it alone after
        metadata:
          annotations:
            kustomize.toolkit.fluxcd.io/ssa: IfNotPresent
        ");
        let release = deployment(
            &json!({ "labels": { "helm.toolkit.fluxcd.io/name": "shop" } }),
            &json!([{ "manager": "helm-controller", "operation": "Update", "fieldsV1": replicas_and_image() }]),
        );
        assert_snapshot!(conflicts(&release, &written_fields(&release, "web"))[0].yaml.clone().unwrap(), @r"
        spec:
          driftDetection:
            ignore:
              - target:
                  kind: Deployment
                  name: web
                paths:
                  - /spec/replicas
                  - /spec/template/spec/containers
        ");
    }

    #[test]
    fn who_writes_again_by_itself_comes_before_who_wrote_once() {
        let mine = json!({ "f:spec": { "f:replicas": {} } });
        let object = deployment(
            &json!({ "annotations": { "meta.helm.sh/release-name": "shop" } }),
            &json!([
                { "manager": "kubectl-scale", "operation": "Update", "time": "2026-11-21T08:00:00Z", "fieldsV1": mine },
                { "manager": "kubectl-client-side-apply", "operation": "Update", "time": "2026-11-20T08:00:00Z", "fieldsV1": mine },
                { "manager": "helm", "operation": "Update", "fieldsV1": mine },
                { "manager": "kustomize-controller", "operation": "Apply", "fieldsV1": mine },
                { "manager": "spot\u{1b}ninja", "operation": "Update", "fieldsV1": mine },
                { "manager": "kube-controller-manager", "operation": "Update", "subresource": "scale", "fieldsV1": mine },
                { "manager": "portcullis", "operation": "Apply", "fieldsV1": mine },
            ]),
        );
        let writers: Vec<String> = conflicts(&object, &written_fields(&object, "web"))
            .iter()
            .map(|conflict| conflict.writer.to_string())
            .collect();
        assert_eq!(writers, ["Flux Kustomization", "Helm (shop)", "kubectl apply", "kubectl", "spot ninja"]);
        let last = last_other(&object, &[Field::of(&["spec", "replicas"])]).unwrap();
        assert_eq!((last.manager.as_str(), last.at.as_str()), ("kubectl-scale", "2026-11-21T08:00:00Z"));
    }

    #[test]
    fn an_older_argo_cd_hides_behind_kubectl_and_is_found_by_its_mark() {
        let managed = json!([{ "manager": "kubectl-client-side-apply", "operation": "Update", "fieldsV1": replicas_and_image() }]);
        let marked = json!({ "annotations": { "argocd.argoproj.io/tracking-id": "a:apps/Deployment:shop/web" } });
        assert_eq!(owners(&deployment(&marked, &managed))[0].writer, Writer::ArgoCd(Some("a".into())));
        assert_eq!(owners(&deployment(&json!({}), &managed))[0].writer, Writer::KubectlApply);
    }

    #[test]
    fn a_field_is_owned_by_who_owns_it_or_a_whole_above_it() {
        let owner =
            |fields: Json| owners(&deployment(&json!({}), &json!([{ "manager": "x", "fieldsV1": fields }])))[0].clone();
        let image = Field::image("web");
        assert!(owner(replicas_and_image()).owns(&image));
        assert!(!owner(replicas_and_image()).owns(&Field::image("proxy")));
        assert!(owner(json!({ "f:spec": { "f:selector": {} } })).owns(&Field::of(&[
            "spec",
            "selector",
            "portcullis.dev/colour"
        ])));
        assert!(!owner(json!({})).owns(&image) && !owner(json!(null)).owns(&image));
        assert!(!owner(json!({ "f:metadata": {} })).owns(&image));
    }
}
