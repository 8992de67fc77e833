//! Reading a folder: everything is checked when it is opened, values are read when they are asked for.

use super::config::Config;
use crate::EngineError;
use crate::source::TensorSource;
use osler_model::ModelFolder;
use osler_model::config::CONFIG;
use std::path::Path;

#[derive(Debug)]
pub struct HfFolder {
    config: Config,
    folder: ModelFolder,
}

impl HfFolder {
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let folder = ModelFolder::open(path)?;
        let config = Config::of(&path.join(CONFIG), folder.config(), folder.json())?;
        Ok(Self { config, folder })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the folder says, and how its tensors are stored.
    pub fn model(&self) -> &ModelFolder {
        &self.folder
    }
}

impl TensorSource for HfFolder {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EngineError> {
        let found = self.folder.find(name).ok_or_else(|| EngineError::tensor(name, "the folder's model has no such parameter"))?;
        let (file, entry) = found;
        if entry.shape != shape {
            return Err(EngineError::tensor(name, format!("the folder holds it in another shape than {shape:?}")));
        }
        let values = self.folder.read_f32(name)?;
        match values.iter().find(|v| !v.is_finite()) {
            Some(value) => Err(EngineError::file(file, format!("tensor {name} holds {value}"))),
            None => Ok(values),
        }
    }
}
