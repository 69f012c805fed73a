//! The volumes of a pod on the node's disk: made before its containers start, kept up to date while they run, removed with the pod.

pub mod mounts;
pub mod payload;

mod atomic;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume};
use parking_lot::Mutex;

use self::payload::{Payload, PayloadError};
use crate::environment::{Referred, fields::Facts};

/// The directories of the node's pods.
#[derive(Debug)]
pub struct PodDirectories {
    root: PathBuf,
}

/// A uid that could lead anywhere else is none.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no uid")]
pub struct NoUid(String);

impl PodDirectories {
    /// Below `root`, which belongs to the agent alone.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Makes the root.
    ///
    /// # Errors
    /// What the file system says.
    pub fn make(&self) -> io::Result<()> {
        atomic::make_private(&self.root)
    }

    /// The volumes of the pod with this uid.
    ///
    /// # Errors
    /// When it is no uid.
    pub fn of(&self, uid: &str) -> Result<PodVolumes, NoUid> {
        if uid.is_empty()
            || !uid
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Err(NoUid(uid.to_owned()));
        }
        Ok(PodVolumes {
            directory: self.root.join(uid),
            written: Mutex::default(),
        })
    }

    /// Removes what pods that are no longer here left behind. Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sweep(&self, is_known: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_str().is_some_and(&is_known) {
                atomic::remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// The volumes of one pod.
#[derive(Debug)]
pub struct PodVolumes {
    directory: PathBuf,
    /// What was last written, by volume.
    written: Mutex<BTreeMap<String, Payload>>,
}

/// A volume that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// What it is made of is not there.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {why}")]
    Payload {
        /// Its name.
        volume: String,
        /// Why.
        why: PayloadError,
    },
    /// The disk.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {why}")]
    Disk {
        /// Its name.
        volume: String,
        /// Why.
        why: io::Error,
    },
}

impl PodVolumes {
    /// Where the volumes are.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.directory.join("volumes")
    }

    /// Where what is made for a container is.
    #[must_use]
    pub fn scratch(&self, container: &str) -> PathBuf {
        self.directory.join("containers").join(container)
    }

    /// Whether a volume is the containers' own to write.
    #[must_use]
    pub fn is_writable(pod: &Pod, volume: &str) -> bool {
        volumes_of(pod).any(|one| one.name == volume && one.empty_dir.is_some())
    }

    /// Makes every volume, or brings those that are made of objects up to date. Blocks.
    ///
    /// # Errors
    /// [`VolumeError`] of the first volume that fails; those before it are made.
    pub fn write(&self, facts: &Facts<'_>, referred: &Referred) -> Result<(), VolumeError> {
        for volume in volumes_of(facts.pod) {
            let named = |why| VolumeError::Disk {
                volume: volume.name.clone(),
                why,
            };
            let directory = self.volumes().join(&volume.name);
            let payload =
                payload::payload(volume, facts, referred).map_err(|why| VolumeError::Payload {
                    volume: volume.name.clone(),
                    why,
                })?;
            match payload {
                None => atomic::make_private(&directory).map_err(named)?,
                Some(payload) => self
                    .refresh(&volume.name, &directory, payload)
                    .map_err(named)?,
            }
        }
        Ok(())
    }

    fn refresh(&self, name: &str, directory: &Path, payload: Payload) -> io::Result<()> {
        let mut written = self.written.lock();
        if written.get(name) == Some(&payload) {
            return Ok(());
        }
        if !written.contains_key(name) {
            // An earlier agent's; nobody reads it now.
            atomic::remove(directory)?;
        }
        atomic::write(
            directory,
            &payload,
            &Timestamp::now().as_nanosecond().to_string(),
        )?;
        written.insert(name.to_owned(), payload);
        Ok(())
    }

    /// Removes all volumes and what was made for containers. Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self) -> io::Result<()> {
        self.written.lock().clear();
        atomic::remove(&self.directory)
    }
}

/// Whether the pod has anything on disk.
#[must_use]
pub fn has_any(pod: &Pod) -> bool {
    volumes_of(pod).next().is_some()
}

fn volumes_of(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.volumes.as_ref())
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use serde_json::json;

    use super::*;
    use crate::{
        config::Capacity,
        environment::{Kind, Reference},
    };

    #[test]
    fn volumes_follow_their_objects_and_go_with_their_pod() {
        let folder = tempfile::tempdir().unwrap();
        let directories = PodDirectories::new(folder.path().join("pods"));
        directories.make().unwrap();
        let volumes = directories.of("u-1").unwrap();
        let pod: Pod = serde_json::from_value(json!({ "metadata": {}, "spec": {
            "containers": [{ "name": "c" }],
            "volumes": [{ "name": "tmp", "emptyDir": {} }, { "name": "conf", "configMap": { "name": "m" } }]
        } }))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let capacity = Capacity {
            cpu_millis: 1,
            memory_bytes: 1,
            pods: 1,
        };
        let facts = Facts {
            pod: &pod,
            container,
            pod_ips: &[],
            host_ips: &[],
            capacity,
        };
        let referred = |text: &str| {
            let contents = [("k".to_owned(), text.as_bytes().to_vec())]
                .into_iter()
                .collect();
            Referred::from([(
                Reference {
                    kind: Kind::ConfigMap,
                    name: "m".to_owned(),
                },
                Arc::new(contents),
            )])
        };
        let missing = volumes.write(&facts, &Referred::new()).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "MountVolume.SetUp failed for volume \"conf\" : configmap \"m\" not found"
        );
        volumes.write(&facts, &referred("1")).unwrap();
        let kept = volumes.volumes().join("tmp/kept");
        fs::write(&kept, "x").unwrap();
        volumes.write(&facts, &referred("2")).unwrap();
        assert_eq!(
            fs::read_to_string(volumes.volumes().join("conf/k")).unwrap(),
            "2"
        );
        // The next agent's first look.
        let again = directories.of("u-1").unwrap();
        again.write(&facts, &referred("3")).unwrap();
        assert_eq!(
            fs::read_to_string(again.volumes().join("conf/k")).unwrap(),
            "3"
        );
        assert!(kept.exists(), "an emptyDir lives as long as its pod");
        directories
            .of("u-2")
            .unwrap()
            .write(&facts, &referred("1"))
            .unwrap();
        directories.sweep(|uid| uid == "u-1").unwrap();
        assert!(!folder.path().join("pods/u-2").exists());
        again.remove().unwrap();
        again.remove().unwrap();
        assert!(!folder.path().join("pods/u-1").exists());
        for uid in ["", "..", "a/b", "a b"] {
            assert!(directories.of(uid).is_err());
        }
    }
}
