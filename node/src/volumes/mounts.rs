//! Which directories of the host a container sees and where. WASI knows no mounted files, so that a single file is shown in a directory made for it.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use coracle_runtime::Mount;
use k8s_openapi::api::core::v1::{Container, VolumeMount};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};

use super::{atomic::make_private, payload::is_inner};

/// The directories of a container, and what keeps them the ones that were meant until it has started.
#[derive(Debug, Default)]
pub struct Mounts {
    /// The directories.
    pub mounts: Vec<Mount>,
    /// Keeps the paths of directories that are reached through a descriptor. Must outlive the start.
    pub held: Vec<OwnedFd>,
}

/// Why a container cannot have a mount.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The path inside of the volume is no path inside.
    #[error(
        "failed to prepare subPath for volumeMount {mount:?}: {path:?} is no path inside of a volume"
    )]
    Path {
        /// The volume's name.
        mount: String,
        /// The path.
        path: String,
    },
    /// It does not exist, or leads out of the volume.
    #[error("failed to prepare subPath {path:?} for volumeMount {mount:?}")]
    Resolve {
        /// The volume's name.
        mount: String,
        /// The path.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A single file would have to be shown where another volume is.
    #[error(
        "volumeMount {mount:?}: a single file cannot be mounted at {at:?}, another volume is mounted there"
    )]
    Overlap {
        /// The volume's name.
        mount: String,
        /// The path in the container.
        at: String,
    },
}

/// Where the pod's volumes are.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The directory with one directory per volume.
    pub volumes: &'a Path,
    /// A directory for what is made for this container.
    pub scratch: &'a Path,
}

/// The mounts of a container. `writable` says which volumes are the containers' own; others are always read-only.
///
/// # Guarantees
/// No path leaves its volume, whatever a container of the pod made of it.
///
/// # Errors
/// [`MountError`].
pub fn resolve(
    container: &Container,
    places: Places<'_>,
    writable: impl Fn(&str) -> bool,
    expand: impl Fn(&str) -> String,
) -> Result<Mounts, MountError> {
    let mut all = Mounts::default();
    // Directories made for single files, by where they are shown.
    let mut made: BTreeMap<String, (PathBuf, bool)> = BTreeMap::new();
    for mount in container.volume_mounts.iter().flatten() {
        let root = places.volumes.join(&mount.name);
        let read_only = mount.read_only == Some(true) || !writable(&mount.name);
        let at = guest_path(&mount.mount_path);
        let Some(inner) = inner_path(mount, &expand)? else {
            all.mounts.push(Mount {
                host_path: root,
                guest_path: at,
                read_only,
            });
            continue;
        };
        let failed = |source: io::Error| MountError::Resolve {
            mount: mount.name.clone(),
            path: inner.clone(),
            source,
        };
        let fd = open_beneath(&root, &inner, writable(&mount.name)).map_err(failed)?;
        let kind = FileType::from_raw_mode(
            rustix::fs::fstat(&fd)
                .map_err(|error| failed(error.into()))?
                .st_mode,
        );
        if kind == FileType::Directory {
            all.mounts.push(Mount {
                host_path: descriptor(&fd),
                guest_path: at,
                read_only,
            });
            all.held.push(fd);
            continue;
        }
        let (parent, name) = at.rsplit_once('/').unwrap_or(("", &at));
        let parent = if parent.is_empty() { "/" } else { parent };
        let n = made.len();
        let (directory, is_read_only) = made
            .entry(parent.to_owned())
            .or_insert_with(|| (places.scratch.join(n.to_string()), true));
        *is_read_only &= read_only;
        show(&fd, directory, name).map_err(failed)?;
    }
    for (at, (directory, read_only)) in made {
        if let Some(other) = all.mounts.iter().find(|one| one.guest_path == at) {
            return Err(MountError::Overlap {
                mount: other.guest_path.clone(),
                at,
            });
        }
        all.mounts.push(Mount {
            host_path: directory,
            guest_path: at,
            read_only,
        });
    }
    Ok(all)
}

/// The path inside of the volume, if only a part of it is mounted.
fn inner_path(
    mount: &VolumeMount,
    expand: impl Fn(&str) -> String,
) -> Result<Option<String>, MountError> {
    let expression = mount
        .sub_path_expr
        .as_deref()
        .filter(|text| !text.is_empty())
        .map(expand);
    let Some(path) = expression
        .or_else(|| mount.sub_path.clone())
        .filter(|path| !path.is_empty())
    else {
        return Ok(None);
    };
    let path = path.trim_end_matches('/').to_owned();
    if is_inner(&path) {
        Ok(Some(path))
    } else {
        Err(MountError::Path {
            mount: mount.name.clone(),
            path,
        })
    }
}

/// Opens what is at `inner` below `root`, wherever links inside of it lead, as long as they stay below. Directories that are missing are made.
fn open_beneath(root: &Path, inner: &str, may_make: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let base = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let open = |from: &OwnedFd, path: &str| {
        rustix::fs::openat2(
            from.as_fd(),
            path,
            flags,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        )
    };
    match open(&base, inner) {
        Ok(found) => return Ok(found),
        Err(rustix::io::Errno::NOENT) if may_make => {}
        Err(error) => return Err(error.into()),
    }
    // One step at a time, each from what was opened before, so that a link that appears meanwhile is only followed where it may be.
    let mut so_far = String::new();
    let mut here = base.try_clone()?;
    for part in inner.split('/') {
        if !so_far.is_empty() {
            so_far.push('/');
        }
        so_far.push_str(part);
        here = match open(&base, &so_far) {
            Ok(found) => found,
            Err(rustix::io::Errno::NOENT) => {
                match rustix::fs::mkdirat(&here, part, Mode::RWXU) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open(&base, &so_far)?
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok(here)
}

/// Shows an open file in a directory of its own: the same file, not a copy, so that what is written is seen by all.
fn show(file: &OwnedFd, directory: &Path, name: &str) -> io::Result<()> {
    make_private(directory)?;
    let target = directory.join(name);
    match fs::remove_file(&target) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    rustix::fs::linkat(CWD, descriptor(file), CWD, &target, AtFlags::SYMLINK_FOLLOW)?;
    Ok(())
}

/// A path that leads to what is open, whatever is made of the path it was opened by.
fn descriptor(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// An absolute path without empty steps or an end slash.
fn guest_path(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("volumes/work")).unwrap();
            Self { folder }
        }

        fn work(&self) -> PathBuf {
            self.folder.path().join("volumes/work")
        }

        fn resolve(&self, mounts: serde_json::Value) -> Result<Mounts, String> {
            let container: Container =
                serde_json::from_value(json!({ "name": "c", "volumeMounts": mounts })).unwrap();
            let (volumes, scratch) = (
                self.folder.path().join("volumes"),
                self.folder.path().join("scratch"),
            );
            let places = Places {
                volumes: &volumes,
                scratch: &scratch,
            };
            resolve(
                &container,
                places,
                |_| true,
                |text| text.replace("$(N)", "7"),
            )
            .map_err(|error| error.to_string())
        }
    }

    #[test]
    fn whole_volumes_are_shown_as_they_are() {
        let fixture = Fixture::new();
        let mounts = fixture
            .resolve(json!([{ "name": "work", "mountPath": "/data//x/", "readOnly": true }]))
            .unwrap()
            .mounts;
        assert_eq!(
            (mounts[0].guest_path.as_str(), mounts[0].read_only),
            ("/data/x", true)
        );
        assert_eq!(mounts[0].host_path, fixture.work());
    }

    #[test]
    fn a_part_of_a_volume_is_made_where_it_is_missing() {
        let fixture = Fixture::new();
        let mounts = fixture
            .resolve(json!([{ "name": "work", "mountPath": "/d", "subPathExpr": "a/$(N)" }]))
            .unwrap();
        fs::write(mounts.mounts[0].host_path.join("f"), "x").unwrap();
        assert_eq!(
            fs::read_to_string(fixture.work().join("a/7/f")).unwrap(),
            "x"
        );
    }

    #[test]
    fn a_single_file_is_the_same_file() {
        let fixture = Fixture::new();
        fs::write(fixture.work().join("f"), "1").unwrap();
        let mount = json!([{ "name": "work", "mountPath": "/etc/app/conf", "subPath": "f" }]);
        let mounts = fixture.resolve(mount.clone()).unwrap().mounts;
        assert_eq!(mounts[0].guest_path, "/etc/app");
        fs::write(mounts[0].host_path.join("conf"), "2").unwrap();
        assert_eq!(fs::read_to_string(fixture.work().join("f")).unwrap(), "2");
        fixture.resolve(mount).unwrap();
    }

    #[test]
    fn no_link_leads_out() {
        let fixture = Fixture::new();
        fs::write(fixture.folder.path().join("secret"), "s").unwrap();
        fs::create_dir(fixture.folder.path().join("outside")).unwrap();
        symlink("../../outside", fixture.work().join("up")).unwrap();
        symlink("/etc", fixture.work().join("root")).unwrap();
        symlink("/proc/self/root", fixture.work().join("magic")).unwrap();
        symlink("../../secret", fixture.work().join("file")).unwrap();
        fs::create_dir(fixture.work().join("real")).unwrap();
        symlink("real", fixture.work().join("inside")).unwrap();
        for path in [
            "up",
            "root",
            "magic",
            "file",
            "up/new",
            "../outside",
            "a/../../outside",
            "/etc",
        ] {
            let mounts =
                fixture.resolve(json!([{ "name": "work", "mountPath": "/d", "subPath": path }]));
            assert!(mounts.is_err(), "{path}: {mounts:?}");
        }
        assert!(
            fs::read_dir(fixture.folder.path().join("outside"))
                .unwrap()
                .next()
                .is_none()
        );
        assert!(
            fixture
                .resolve(json!([{ "name": "work", "mountPath": "/d", "subPath": "inside" }]))
                .is_ok()
        );
    }

    #[test]
    fn a_file_and_a_volume_cannot_share_a_place() {
        let fixture = Fixture::new();
        fs::write(fixture.work().join("f"), "1").unwrap();
        let both = json!([{ "name": "work", "mountPath": "/d" }, { "name": "work", "mountPath": "/d/f", "subPath": "f" }]);
        assert!(fixture.resolve(both).is_err());
    }
}
