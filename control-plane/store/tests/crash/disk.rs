//! A disk as power cuts leave it: everything that was synced, and of the rest what chance decides, in sectors of 512 bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::chance::Chance;

const SECTOR: u64 = 512;

/// What a process did to its files, in order. Paths are relative to the folder.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// A file came to be.
    Create { path: PathBuf, file: usize },
    /// A folder came to be.
    MakeFolder { path: PathBuf },
    /// Bytes went into a file.
    Write {
        file: usize,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// Bytes of a file became a hole.
    Erase {
        file: usize,
        offset: u64,
        length: u64,
    },
    /// A file got this length.
    Resize { file: usize, length: u64 },
    /// A name became another.
    Rename { from: PathBuf, to: PathBuf },
    /// A name went.
    Remove { path: PathBuf },
    /// What was done to the file before the deed number `before` is durable.
    Sync { file: usize, before: usize },
    /// The names in a folder, as they were before the deed number `before`, are durable.
    SyncFolder { before: usize },
    /// Everything done before the deed number `before` is durable.
    SyncAll { before: usize },
    /// Somebody was told this.
    Tell(String),
}

impl Deed {
    fn is_about_names(&self) -> bool {
        matches!(
            self,
            Self::Create { .. }
                | Self::MakeFolder { .. }
                | Self::Rename { .. }
                | Self::Remove { .. }
        )
    }
}

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Data is lost; names are as they were.
    Lost,
    /// Each sector may survive; names are as they were.
    Torn,
    /// As torn, and only so many of the last names survive, in their order.
    TornNames,
}

/// A file's content, with holes.
#[derive(Clone, Debug, Default)]
struct Content {
    length: u64,
    sectors: BTreeMap<u64, [u8; SECTOR as usize]>,
}

impl Content {
    fn write(&mut self, offset: u64, bytes: &[u8], mut survives: impl FnMut() -> bool) {
        let mut at = 0;
        while at < bytes.len() {
            let position = offset + at as u64;
            let (sector, within) = (position / SECTOR, (position % SECTOR) as usize);
            let part = (bytes.len() - at).min(SECTOR as usize - within);
            if survives() {
                let held = self.sectors.entry(sector).or_insert([0; SECTOR as usize]);
                held[within..within + part].copy_from_slice(&bytes[at..at + part]);
                self.length = self.length.max(position + part as u64);
            }
            at += part;
        }
    }

    fn erase(&mut self, offset: u64, length: u64, mut survives: impl FnMut() -> bool) {
        let end = (offset + length).min(self.length);
        let held: Vec<u64> = self
            .sectors
            .range(offset / SECTOR..end.div_ceil(SECTOR))
            .map(|(sector, _)| *sector)
            .collect();
        for sector in held {
            let start = sector * SECTOR;
            let from = offset.max(start) - start;
            let to = end.min(start + SECTOR) - start;
            if survives()
                && let Some(bytes) = self.sectors.get_mut(&sector)
            {
                bytes[from as usize..to as usize].fill(0);
            }
        }
    }

    fn resize(&mut self, length: u64) {
        if length < self.length {
            self.sectors.split_off(&length.div_ceil(SECTOR));
            if let Some(last) = self.sectors.get_mut(&(length / SECTOR)) {
                last[(length % SECTOR) as usize..].fill(0);
            }
        }
        self.length = length;
    }
}

/// Files and folders at some moment, all durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    folders: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    files: BTreeMap<usize, Content>,
}

impl Disk {
    /// What is in `folder`. Its files get numbers from 0 on.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut disk = Self::default();
        for (number, path) in crate::folder::files(folder).into_iter().enumerate() {
            let name = path.strip_prefix(folder).unwrap().to_owned();
            disk.folders
                .extend(name.ancestors().skip(1).map(Path::to_owned));
            disk.names.insert(name, number);
            let bytes = fs::read(&path).unwrap();
            let mut content = Content::default();
            for (sector, part) in bytes.chunks(SECTOR as usize).enumerate() {
                if part.iter().any(|byte| *byte != 0) {
                    content.write(sector as u64 * SECTOR, part, || true);
                }
            }
            content.resize(bytes.len() as u64);
            disk.files.insert(number, content);
        }
        disk
    }

    /// The numbers of the files by name.
    pub(crate) fn names(&self) -> &BTreeMap<PathBuf, usize> {
        &self.names
    }

    /// The disk after `deeds` and a power cut.
    pub(crate) fn after(mut self, deeds: &[Deed], fate: Fate, chance: &mut Chance) -> Self {
        let mut synced: BTreeMap<usize, usize> = BTreeMap::new();
        let (mut all, mut names) = (0, 0);
        for deed in deeds {
            match deed {
                Deed::Sync { file, before } => {
                    let known = synced.entry(*file).or_default();
                    *known = (*known).max(*before);
                }
                Deed::SyncAll { before } => all = all.max(*before),
                Deed::SyncFolder { before } => names = names.max(*before),
                _ => {}
            }
        }
        names = names.max(all);
        if fate == Fate::TornNames {
            names += chance.below((deeds.len() - names) as u64 + 1) as usize;
        } else {
            names = deeds.len();
        }
        for (index, deed) in deeds.iter().enumerate() {
            if deed.is_about_names() {
                if index < names {
                    self.rename(deed);
                }
                continue;
            }
            let durable = |file: &usize| index < all.max(synced.get(file).copied().unwrap_or(0));
            match deed {
                Deed::Write {
                    file,
                    offset,
                    bytes,
                } => {
                    let durable = durable(file);
                    let content = self.files.entry(*file).or_default();
                    content.write(*offset, bytes, || {
                        durable || fate != Fate::Lost && chance.percent(50)
                    });
                }
                Deed::Erase {
                    file,
                    offset,
                    length,
                } => {
                    let durable = durable(file);
                    let content = self.files.entry(*file).or_default();
                    content.erase(*offset, *length, || {
                        durable || fate != Fate::Lost && chance.percent(50)
                    });
                }
                Deed::Resize { file, length }
                    if durable(file) || fate != Fate::Lost && chance.percent(50) =>
                {
                    self.files.entry(*file).or_default().resize(*length);
                }
                _ => {}
            }
        }
        self
    }

    fn rename(&mut self, deed: &Deed) {
        match deed {
            Deed::Create { path, file } => {
                self.names.insert(path.clone(), *file);
            }
            Deed::MakeFolder { path } => {
                self.folders.insert(path.clone());
            }
            Deed::Rename { from, to } => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            Deed::Remove { path } => {
                self.folders.remove(path);
                self.names.remove(path);
            }
            _ => {}
        }
    }

    /// Makes real files of it in an empty folder.
    pub(crate) fn build(&self, folder: &Path) {
        for path in &self.folders {
            fs::create_dir_all(folder.join(path)).unwrap();
        }
        for (path, number) in &self.names {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(&path).unwrap();
            let Some(content) = self.files.get(number) else {
                continue;
            };
            file.set_len(content.length).unwrap();
            for (sector, bytes) in &content.sectors {
                let at = sector * SECTOR;
                let length = content.length.saturating_sub(at).min(SECTOR);
                file.write_all_at(&bytes[..length as usize], at).unwrap();
            }
        }
    }
}

#[test]
fn only_what_was_synced_survives_for_certain() {
    let write = |bytes: &[u8], offset| Deed::Write {
        file: 0,
        offset,
        bytes: bytes.to_vec(),
    };
    let deeds = [
        Deed::Create {
            path: "a".into(),
            file: 0,
        },
        write(&[1; 600], 0),
        Deed::Sync { file: 0, before: 2 },
        write(&[2; 2000], 600),
        Deed::Resize {
            file: 0,
            length: 10,
        },
    ];
    let mut torn = BTreeSet::new();
    for seed in 0..64 {
        let mut chance = Chance::seeded(seed);
        let lost = Disk::default().after(&deeds, Fate::Lost, &mut chance);
        assert_eq!(lost.files[&0].length, 600);
        assert_eq!(lost.files[&0].sectors[&1][..88], [1; 88]);
        let half = Disk::default().after(&deeds, Fate::Torn, &mut chance);
        torn.insert(half.files[&0].length);
    }
    assert!(torn.contains(&10) && torn.contains(&600) && torn.contains(&2600));
}
