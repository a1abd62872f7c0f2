//! Where a setting comes from: an option, else the environment, else the configuration file; and
//! how a message names that place.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

use super::{
    Usage,
    config_file::{self, Entries},
};

/// Where a value was given.
enum Place {
    Option(String),
    Variable(String),
    File(PathBuf, usize, &'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Option(name) | Place::Variable(name) => f.write_str(name),
            Place::File(path, line, key) => write!(f, "{}:{line}: {key}", path.display()),
        }
    }
}

/// Values and where they were given.
struct Given {
    place: Place,
    values: Vec<OsString>,
}

impl Given {
    fn wrong(&self, value: &OsStr, expected: &str) -> Usage {
        Usage(format!("{} {value:?}: {expected}", self.place))
    }

    fn text<'a>(&self, value: &'a OsStr) -> Result<&'a str, Usage> {
        value
            .to_str()
            .ok_or_else(|| self.wrong(value, "expected UTF-8"))
    }
}

/// Understands one value; the error says what is accepted.
pub type Parse<T> = fn(&str) -> Result<T, String>;

/// Everything below the options. Each setting is asked for once; what is left in the file then is
/// not a setting.
pub struct Sources<E> {
    env: E,
    file: Option<(PathBuf, Entries)>,
    asked: Vec<&'static str>,
}

impl<E: Fn(&str) -> Option<OsString>> Sources<E> {
    /// Reads the configuration file, if `config` or the environment names one.
    pub fn new(config: Option<PathBuf>, env: E) -> Result<Self, Usage> {
        let path = config.or_else(|| variable(&env, "config").map(|(_, path)| path.into()));
        let file = match path {
            Some(path) => {
                let entries = config_file::read(&path)?;
                Some((path, entries))
            }
            None => None,
        };
        Ok(Sources {
            env,
            file,
            asked: Vec::new(),
        })
    }

    /// A setting with one value.
    pub fn one<T>(
        &mut self,
        key: &'static str,
        option: Option<String>,
        parse: Parse<T>,
    ) -> Result<Option<T>, Usage> {
        let option = option.map(|value| vec![value.into()]).unwrap_or_default();
        let Some(given) = self.given(key, option) else {
            return Ok(None);
        };
        let value = single(&given)?;
        let parsed = parse(given.text(value)?).map_err(|form| given.wrong(value, &form))?;
        Ok(Some(parsed))
    }

    /// A setting that is a path, which need not be UTF-8.
    pub fn path(
        &mut self,
        key: &'static str,
        option: Option<PathBuf>,
    ) -> Result<Option<PathBuf>, Usage> {
        let option = option.map(|path| vec![path.into()]).unwrap_or_default();
        let Some(given) = self.given(key, option) else {
            return Ok(None);
        };
        let value = single(&given)?;
        if value.is_empty() {
            return Err(given.wrong(value, "expected the name of a file"));
        }
        Ok(Some(value.into()))
    }

    /// A setting with any number of values, each of which may be several separated by commas. The
    /// values of one source replace those of the ones below it.
    pub fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        options: Vec<String>,
        parse: Parse<T>,
    ) -> Result<Vec<T>, Usage> {
        let options = options.into_iter().map(OsString::from).collect();
        let mut parsed = Vec::new();
        let Some(given) = self.given(key, options) else {
            return Ok(parsed);
        };
        for value in &given.values {
            for item in given.text(value)?.split(',') {
                let item = item.trim();
                let item = parse(item).map_err(|form| given.wrong(item.as_ref(), &form))?;
                if !parsed.contains(&item) {
                    parsed.push(item);
                }
            }
        }
        Ok(parsed)
    }

    /// Call it last: a key of the file that no setting asked for is a mistake.
    pub fn finish(self) -> Result<(), Usage> {
        let Some((path, entries)) = self.file else {
            return Ok(());
        };
        match entries.first_key_value() {
            None => Ok(()),
            Some((key, entry)) => Err(Usage(format!(
                "{}:{}: {key:?} is not a setting; these are: {}",
                path.display(),
                entry.line,
                self.asked.join(", ")
            ))),
        }
    }

    fn given(&mut self, key: &'static str, option: Vec<OsString>) -> Option<Given> {
        self.asked.push(key);
        let in_file = self
            .file
            .as_mut()
            .and_then(|(path, entries)| Some((path.clone(), entries.remove(key)?)));
        if !option.is_empty() {
            return Some(Given {
                place: Place::Option(format!("--{}", key.replace('_', "-"))),
                values: option,
            });
        }
        if let Some((name, value)) = variable(&self.env, key) {
            return Some(Given {
                place: Place::Variable(name),
                values: vec![value],
            });
        }
        let (path, entry) = in_file?;
        Some(Given {
            place: Place::File(path, entry.line, key),
            values: entry.values.into_iter().map(OsString::from).collect(),
        })
    }
}

/// `TRACER_KEY` and its value; an empty one counts as unset, as files of units and containers
/// leave them.
fn variable(env: impl Fn(&str) -> Option<OsString>, key: &str) -> Option<(String, OsString)> {
    let name = format!("TRACER_{}", key.to_ascii_uppercase());
    let value = env(&name).filter(|value| !value.is_empty())?;
    Some((name, value))
}

fn single(given: &Given) -> Result<&OsStr, Usage> {
    match given.values.as_slice() {
        [value] => Ok(value),
        values => Err(Usage(format!(
            "{}: expected one value, not {}",
            given.place,
            values.len()
        ))),
    }
}
