//! A learner on disk: weights, optimiser, vocabulary, codes, grammar and generators in one file.
//!
//! The file is a safetensors file: the tensors of the VAE and its optimiser, and one of bytes, named
//! `document`, with the rest as zstd-compressed JSON. It holds no observed trace: replay and
//! held-out traces start again. It is written beside its place and moved there, so that whoever
//! reads it finds the old one or the new one, whole.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::core::{Fit, Learner, Streams};
use super::told_apart::Told;
use super::{Broken, LearnerSettings, Published, Status};
use crate::features::timing::Coder;
use crate::features::{Interner, Vocabulary, Words};
use crate::model::{Grammar, Tensors, Vae, VaeSettings};

/// The version of the form that this program writes, and the only one that it reads.
const VERSION: u32 = 8;
/// The longest document that is read: far above what bounds of vocabulary and grammar allow.
const LONGEST: u64 = 1 << 30;
const PREFIX: &str = "vae.";

/// What a checkpoint file holds.
#[derive(Debug)]
pub struct Checkpoint {
    document: Document,
    tensors: Tensors,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    /// The program that wrote it.
    program: String,
    words: Words,
    coder: Coder,
    grammar: Grammar,
    vae: Option<VaeSettings>,
    #[serde(default)]
    told: Told,
    fit: Fit,
    chance: Streams,
    status: Status,
    /// Of the tensors, so that a damaged number is noticed.
    checksum: u64,
}

/// Why a checkpoint can't be read or written: a sentence that names the file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file can't be read or written.
    #[error("the model {path} can't be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no checkpoint, or a damaged one.
    #[error(
        "{path}: is no doppelspan model, or a damaged one ({reason}); train it again, or move it away to start anew"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Another version of the program wrote it.
    #[error(
        "{path}: was written in form {found}, this program reads form {VERSION}; train it again"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The form's number.
        found: u64,
    },
}

impl Checkpoint {
    /// The state of a learner.
    pub fn of(learner: &Learner) -> Self {
        let vae = learner.vae.as_ref();
        let tensors = vae.map(Vae::dump).unwrap_or_default();
        Self {
            document: Document {
                version: VERSION,
                program: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
                words: learner.vocabulary.dump(),
                coder: (*learner.coder).clone(),
                grammar: learner.grammar.clone(),
                vae: vae.and(learner.settings.vae.clone()),
                told: learner.told.clone(),
                fit: learner.fit,
                chance: learner.chance.clone(),
                status: learner.status.clone(),
                checksum: checksum(&tensors),
            },
            tensors,
        }
    }

    /// What the learner said of itself.
    pub fn status(&self) -> &Status {
        &self.document.status
    }

    /// The program that wrote it, and its version.
    pub fn program(&self) -> &str {
        &self.document.program
    }

    /// Names, shapes and numbers of the weights.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// The labels that it can emit, and the floor they passed.
    pub fn words(&self) -> &Words {
        &self.document.words
    }

    /// Sizes and rates of its VAE, if it has one.
    pub fn vae_settings(&self) -> Option<&VaeSettings> {
        self.document.vae.as_ref()
    }

    /// Contexts of its grammar.
    pub fn grammar(&self) -> &Grammar {
        &self.document.grammar
    }

    /// A learner that goes on where this one was. The floor and the settings of a VAE that is
    /// there already are the checkpoint's, unless the floor of `settings` is higher.
    pub fn learner(
        &self,
        mut settings: LearnerSettings,
        texts: Arc<Interner>,
    ) -> Result<Learner, Broken> {
        let document = &self.document;
        let vae = match &document.vae {
            Some(saved) => {
                let loaded = Vae::load(saved.clone(), self.tensors.clone());
                settings.vae = settings.vae.map(|_| saved.clone());
                Some(loaded.map_err(|fault| Broken(fault.to_string()))?)
            }
            None => None,
        };
        let words = &document.words;
        let vocabulary = Vocabulary::load(words, settings.min_traces, settings.max_tokens, &texts);
        let mut learner = Learner::new(settings, texts, 0);
        learner.begin_with(
            vocabulary,
            document.coder.clone(),
            document.grammar.clone(),
            vae,
        );
        learner.told = document.told.clone();
        learner.fit = document.fit;
        learner.chance = document.chance.clone();
        learner.status = document.status.clone();
        Ok(learner)
    }

    /// The VAE with its encoder, if there is one.
    pub fn vae(&self) -> Result<Option<Vae>, Broken> {
        let Some(settings) = &self.document.vae else {
            return Ok(None);
        };
        let vae = Vae::load(settings.clone(), self.tensors.clone());
        vae.map(Some).map_err(|fault| Broken(fault.to_string()))
    }

    /// What served when it was written; nothing if nothing did.
    pub fn published(&self) -> Result<Option<Published>, Broken> {
        let settings = LearnerSettings {
            vae: self.document.vae.clone(),
            ..LearnerSettings::default()
        };
        Ok(self.learner(settings, Arc::default())?.snapshot())
    }

    /// Writes it beside `path` and moves it there.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let failed = |source| CheckpointError::Io {
            path: path.to_owned(),
            source,
        };
        let bytes = self.to_bytes().map_err(failed)?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // As readable as any file of this user, not for its owner alone as temporary files are.
        let mut beside = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(failed)?;
        beside.write_all(&bytes).map_err(failed)?;
        beside.as_file().sync_all().map_err(failed)?;
        let moved = beside.persist(path);
        moved.map_err(|fault| failed(fault.error))?;
        // The move itself must outlive a crash too; a file system without it has no such promise.
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .ok();
        Ok(())
    }

    /// Reads it.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = fs::read(path).map_err(|source| CheckpointError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(&bytes).map_err(|fault| match fault {
            Unreadable::Damaged(reason) => CheckpointError::Damaged {
                path: path.to_owned(),
                reason,
            },
            Unreadable::Version(found) => CheckpointError::Version {
                path: path.to_owned(),
                found,
            },
        })
    }

    /// Traces that its model has learnt.
    pub(super) fn learnt(&self) -> u64 {
        self.document.fit.learnt
    }

    /// The bytes of its file.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(&self.document)?;
        let mut document = zstd::Encoder::new(Vec::new(), 3)?;
        document.include_checksum(true)?;
        document.write_all(&json)?;
        let document = document.finish()?;
        let mut views = BTreeMap::new();
        let mut floats = Vec::new();
        for (name, (shape, values)) in &self.tensors {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            floats.push((format!("{PREFIX}{name}"), shape.clone(), bytes));
        }
        for (name, shape, bytes) in &floats {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            views.insert(name.clone(), view.map_err(io::Error::other)?);
        }
        let view = TensorView::new(Dtype::U8, vec![document.len()], &document);
        views.insert("document".to_owned(), view.map_err(io::Error::other)?);
        // One entry: several would stand in the file in any order.
        let about = format!("{} {VERSION}", env!("CARGO_PKG_NAME"));
        let about = HashMap::from([("format".to_owned(), about)]);
        safetensors::serialize(views, Some(about)).map_err(io::Error::other)
    }

    /// Reads the bytes of a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let mut tensors = Tensors::new();
        let mut document = None;
        for (name, view) in file.iter() {
            match name.strip_prefix(PREFIX) {
                Some(name) if view.dtype() == Dtype::F32 => {
                    let (numbers, _) = view.data().as_chunks::<4>();
                    let values = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes));
                    let tensor = (view.shape().to_vec(), values.collect());
                    tensors.insert(name.to_owned(), tensor);
                }
                None if name == "document" => document = Some(Cow::Borrowed(view.data())),
                _ => return Err(Unreadable::Damaged(format!("`{name}` is not known"))),
            }
        }
        let document = document.ok_or(Unreadable::Damaged("it has no document".to_owned()))?;
        let mut json = Vec::new();
        zstd::stream::read::Decoder::new(&*document)
            .and_then(|source| source.take(LONGEST).read_to_end(&mut json))
            .map_err(damaged)?;
        let version: Version = serde_json::from_slice(&json).map_err(damaged)?;
        if version.version != u64::from(VERSION) {
            return Err(Unreadable::Version(version.version));
        }
        let document: Document = serde_json::from_slice(&json).map_err(damaged)?;
        if document.checksum != checksum(&tensors) {
            return Err(Unreadable::Damaged("a tensor has changed".to_owned()));
        }
        Ok(Self { document, tensors })
    }
}

/// FNV-1a over names and numbers.
fn checksum(tensors: &Tensors) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    let start = 0xcbf2_9ce4_8422_2325;
    tensors.iter().fold(start, |hash, (name, (_, values))| {
        let hash = name.bytes().fold(hash, |hash, byte| mix(hash, byte.into()));
        let bits = values.iter().map(|value| u64::from(value.to_bits()));
        bits.fold(hash, mix)
    })
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

/// Why bytes are no checkpoint: what is wrong with them, for a sentence that says where they lie.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// They are none, or a damaged one.
    #[error("it is no doppelspan model, or a damaged one ({0})")]
    Damaged(String),
    /// Another version of the program wrote them.
    #[error("it was written in form {0}, this program reads form {VERSION}")]
    Version(u64),
}

fn damaged(fault: impl std::error::Error) -> Unreadable {
    Unreadable::Damaged(fault.to_string())
}
