//! The cluster's own store of objects: one JSON file each, changed in one durable step, read from memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use portcullis_domain::action::{ObjectKey, Part, Value};
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_engine::ports::{PortError, PortResult};
use serde::{Deserialize, Serialize};

use super::files::{Files, failed};
use super::held;

/// One object as the cluster keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object {
    /// Raised by every change of what is below.
    pub(super) version: u64,
    /// The fence annotation as text, whoever wrote it.
    pub(super) fence: Option<String>,
    /// Who wrote it last.
    pub(super) written_by: String,
    /// The loopback port of a Service, once it has one. Given by the cluster; changing it is no change of the object.
    pub(super) port: Option<u16>,
    /// What it asks for.
    pub(super) value: Value,
}

/// What a patch tests before it changes anything: the annotation and the value. None = there is no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tested {
    pub(super) fence: Option<String>,
    pub(super) value: Value,
}

impl From<&Object> for Tested {
    fn from(object: &Object) -> Self {
        Self { fence: object.fence.clone(), value: object.value }
    }
}

/// What a patch leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) fence: Option<String>,
    pub(super) written_by: String,
    pub(super) value: Value,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    target: TargetId,
    key: ObjectKey,
    object: Object,
}

type Name = (TargetId, ObjectKey);

/// All objects of all targets. One process at a time.
#[derive(Debug)]
pub(super) struct ObjectStore {
    dir: PathBuf,
    files: Files,
    /// Held over a whole change, disk included, so that reading never waits for the disk.
    changing: Mutex<()>,
    objects: Mutex<BTreeMap<Name, Object>>,
}

impl ObjectStore {
    /// Reads every object under the folder. A file that is not an object is an error: nothing is guessed.
    pub(super) fn open(dir: PathBuf, files: Files) -> PortResult<Self> {
        let mut objects = BTreeMap::new();
        fs::create_dir_all(&dir).map_err(|error| failed("making", &dir, error))?;
        read_folder(&dir, &mut objects)?;
        Ok(Self { dir, files, changing: Mutex::new(()), objects: Mutex::new(objects) })
    }

    /// One object.
    pub(super) fn get(&self, target: &TargetId, key: &ObjectKey) -> Option<Object> {
        held(&self.objects).get(&(target.clone(), key.clone())).cloned()
    }

    /// The objects of a target, by key.
    pub(super) fn of(&self, target: &TargetId) -> Vec<(ObjectKey, Object)> {
        let objects = held(&self.objects);
        let of = objects.iter().filter(|((of, _), _)| of == target);
        of.map(|((_, key), object)| (key.clone(), object.clone())).collect()
    }

    /// The names of all objects.
    pub(super) fn names(&self) -> Vec<Name> {
        held(&self.objects).keys().cloned().collect()
    }

    /// Whether a service has no Service in front.
    pub(super) fn is_worker(&self, target: &TargetId, service: &ServiceName) -> bool {
        !held(&self.objects).contains_key(&(target.clone(), ObjectKey::traffic(service)))
    }

    /// Changes (or creates) an object if annotation and value are still as tested; false if they are not.
    /// Blocks on the disk.
    pub(super) fn patch(
        &self,
        target: &TargetId,
        key: &ObjectKey,
        tested: Option<&Tested>,
        change: Change,
    ) -> PortResult<bool> {
        let _changing = held(&self.changing);
        let found = self.get(target, key);
        let found = found.as_ref();
        if found.map(Tested::from).as_ref() != tested {
            return Ok(false);
        }
        let object = Object {
            version: found.map_or(0, |found| found.version) + 1,
            fence: change.fence,
            written_by: change.written_by,
            port: found.and_then(|found| found.port),
            value: change.value,
        };
        self.keep((target.clone(), key.clone()), object)?;
        Ok(true)
    }

    /// Notes the port that a Service got. Blocks on the disk.
    pub(super) fn set_port(&self, target: &TargetId, key: &ObjectKey, port: u16) -> PortResult<()> {
        let _changing = held(&self.changing);
        match self.get(target, key) {
            Some(object) if object.port != Some(port) => {
                self.keep((target.clone(), key.clone()), Object { port: Some(port), ..object })
            }
            _ => Ok(()),
        }
    }

    fn keep(&self, name: Name, object: Object) -> PortResult<()> {
        let path = self.path(&name.0, &name.1);
        let stored = Stored { target: name.0.clone(), key: name.1.clone(), object };
        let bytes = serde_json::to_vec_pretty(&stored).map_err(|error| failed("encoding", &path, error))?;
        match self.files.write(&path, &bytes) {
            Ok(()) => {
                held(&self.objects).insert(name, stored.object);
                Ok(())
            }
            Err(error) => {
                // It may have been replaced before it failed: what the file says is what counts.
                if let Ok(Stored { object, .. }) = read_file(&path) {
                    held(&self.objects).insert(name, object);
                }
                Err(error)
            }
        }
    }

    // Names are RFC 1123 labels, so that none can leave the folder.
    fn path(&self, target: &TargetId, key: &ObjectKey) -> PathBuf {
        let file = match key.part {
            Part::Workload(colour) => format!("deployment-{}-{colour}.json", key.service),
            Part::Traffic => format!("service-{}.json", key.service),
        };
        self.dir.join(target.app.as_str()).join(target.env.as_str()).join(file)
    }
}

fn read_folder(dir: &Path, objects: &mut BTreeMap<Name, Object>) -> PortResult<()> {
    for entry in fs::read_dir(dir).map_err(|error| failed("reading", dir, error))? {
        let path = entry.map_err(|error| failed("reading", dir, error))?.path();
        if path.is_dir() {
            read_folder(&path, objects)?;
        } else {
            let stored = read_file(&path)?;
            objects.insert((stored.target, stored.key), stored.object);
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<Stored, PortError> {
    let bytes = fs::read(path).map_err(|error| failed("reading", path, error))?;
    serde_json::from_slice(&bytes).map_err(|error| failed("reading", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> PortResult<ObjectStore> {
        ObjectStore::open(dir.join("objects"), Files::at(dir)?)
    }

    fn change(green: u16) -> Change {
        Change { fence: None, written_by: "test".into(), value: Value::Traffic { green } }
    }

    #[test]
    fn a_patch_is_refused_unless_what_was_read_is_still_there() {
        let dir = tempfile::tempdir().unwrap();
        let target: TargetId = "volteryde/production".parse().unwrap();
        let key = ObjectKey::traffic(&ServiceName::new("nestjs-service").unwrap());
        let store = open(dir.path()).unwrap();
        assert!(store.patch(&target, &key, None, change(0)).unwrap());
        assert!(!store.patch(&target, &key, None, change(1)).unwrap(), "it exists now");
        let read = Tested::from(&store.get(&target, &key).unwrap());
        assert!(store.patch(&target, &key, Some(&read), change(2)).unwrap());
        assert!(!store.patch(&target, &key, Some(&read), change(3)).unwrap(), "it moved since");
        store.set_port(&target, &key, 4000).unwrap();
        let expected = store.get(&target, &key).unwrap();
        assert_eq!((expected.version, expected.port, expected.value), (2, Some(4000), Value::Traffic { green: 2 }));
        drop(store);
        let again = open(dir.path()).unwrap();
        assert_eq!(again.get(&target, &key), Some(expected));
    }

    #[test]
    fn a_file_that_is_no_object_is_named() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap();
        fs::write(dir.path().join("objects/odd.json"), b"{}").unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("odd.json"), "{error}");
    }
}
