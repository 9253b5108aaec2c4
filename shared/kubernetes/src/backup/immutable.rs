//! Why an object could not be brought back onto the one that is there, and what a person can do.

use serde_json::Value as Json;

use super::object::{ObjectRef, list, text};
use super::wire::{Answer, shown};

/// What an API server says of a field that cannot change any more: `apimachinery`'s `FieldImmutableErrorMsg`, and the
/// words of Services, claims, role bindings, stateful sets and pods.
const SAID: [&str; 7] = [
    "field is immutable",
    "is immutable after creation",
    "may not change once set",
    "cannot change roleRef",
    "updates to statefulset spec for fields other than",
    "pod updates may not change fields other than",
    "can not be less than",
];

/// The fields of a refusal that cannot be changed on what is there; empty = it was refused for something else.
pub fn immutable_fields(answer: &Answer) -> Vec<String> {
    let Some(status) = answer.status_object().filter(|_| answer.status == 422) else { return Vec::new() };
    let fixed = |cause: &&Json| SAID.iter().any(|said| text(cause, "/message").contains(said));
    let field = |cause: &Json| Some(shown(text(cause, "/field"))).filter(|field| !field.is_empty());
    let mut fields: Vec<String> = list(&status, "/details/causes").iter().filter(fixed).filter_map(field).collect();
    fields.dedup();
    fields
}

/// A refusal in words, with what can be done.
pub fn explain(answer: &Answer, object: &ObjectRef) -> String {
    let fields = immutable_fields(answer);
    if fields.is_empty() {
        return match answer.status {
            401 => "the cluster does not accept the credentials".to_owned(),
            403 => format!("not permitted: {}", answer.words()),
            404 => format!("the cluster has no {} (install its definition first)", shown(&object.kind)),
            // Some servers repeat what they refuse.
            status if object.kind == "Secret" => {
                format!("{status}; the server's words are not shown, since they may repeat what is in the Secret")
            }
            _ => answer.words(),
        };
    }
    let (kind, name) = (shown(&object.kind), shown(&object.name));
    let lower = kind.to_ascii_lowercase();
    let delete = format!("kubectl delete {lower} {name}");
    let way = match (object.group.as_str(), object.kind.as_str()) {
        ("apps", "StatefulSet") => format!(
            "to bring it back: {delete} --cascade=orphan (its pods and volumes stay), then restore again"
        ),
        ("apps", _) => format!("to bring it back: {delete} (its pods stop with it), then restore again"),
        ("batch", "Job") => format!("to bring it back: {delete}, then restore again: it runs again from its start"),
        ("", "PersistentVolumeClaim") => {
            "a claim can only grow, and keeps its volume: bring the backup's claim back under another name and copy the data"
                .to_owned()
        }
        ("", "Service") => {
            format!("to bring it back: {delete} (it gets another address, nothing answers meanwhile), then restore again")
        }
        ("", "Secret" | "ConfigMap") => {
            format!("to bring it back: {delete} (pods that start meanwhile wait for it), then restore again")
        }
        ("", "Pod") => format!("to bring it back: {delete} (it stops), then restore again"),
        ("rbac.authorization.k8s.io", _) => {
            format!("to bring it back: {delete} (the rights are gone meanwhile), then restore again")
        }
        _ => format!("to bring it back: {delete}, then restore again"),
    };
    let fields = fields.join(", ");
    format!("{fields} cannot be changed on a {kind} that is there; nothing of it was changed; {way}")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;

    fn refusal(status: u16, causes: &Json) -> Answer {
        let body = json!({ "kind": "Status", "message": "it is invalid", "details": { "causes": causes } });
        Answer { status, body: body.to_string().into_bytes() }
    }

    fn object(group: &str, kind: &str) -> ObjectRef {
        ObjectRef { group: group.into(), kind: kind.into(), name: "db".into() }
    }

    #[test]
    fn a_fixed_field_is_named_with_the_way_round_it() {
        let fixed = json!([{ "field": "spec", "reason": "FieldValueForbidden",
            "message": "Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden" }]);
        assert_snapshot!(explain(&refusal(422, &fixed), &object("apps", "StatefulSet")), @"spec cannot be changed on a StatefulSet that is there; nothing of it was changed; to bring it back: kubectl delete statefulset db --cascade=orphan (its pods and volumes stay), then restore again");
        let selector = json!([{ "field": "spec.selector", "message": "Invalid value: field is immutable" }]);
        assert_snapshot!(explain(&refusal(422, &selector), &object("apps", "Deployment")), @"spec.selector cannot be changed on a Deployment that is there; nothing of it was changed; to bring it back: kubectl delete deployment db (its pods stop with it), then restore again");
    }

    #[test]
    fn another_refusal_is_told_in_the_servers_words() {
        let wrong = json!([{ "field": "spec.replicas", "message": "must be greater than or equal to 0" }]);
        assert_eq!(explain(&refusal(422, &wrong), &object("apps", "Deployment")), "422 it is invalid");
        assert_eq!(explain(&refusal(403, &json!([])), &object("", "Secret")), "not permitted: 403 it is invalid");
        let secret = explain(&refusal(422, &wrong), &object("", "Secret"));
        assert!(secret.starts_with("422; ") && !secret.contains("it is invalid"), "{secret}");
    }
}
