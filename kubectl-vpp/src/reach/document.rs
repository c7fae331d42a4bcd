//! Files of manifests, cut into documents that know where they come from.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_norway::Value;

/// Something in the input that cannot be used, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file; `-` is standard input.
    pub file: String,
    /// Line, counted from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// What is wrong and what to change.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file; `-` is standard input; of a cluster the path asked for.
    pub file: String,
    /// Line of the file on which the text begins, counted from 1.
    pub first_line: usize,
    text: String,
}

impl Document {
    /// A text that is one document.
    pub fn whole(from: &str, text: String) -> Self {
        Self {
            file: from.to_owned(),
            first_line: 1,
            text,
        }
    }

    /// A mistake on a line of this document, counted from 1.
    fn mistake(&self, line: usize, message: impl Into<String>) -> Mistake {
        Mistake {
            file: self.file.clone(),
            line: self.first_line + line.max(1) - 1,
            message: message.into(),
        }
    }

    /// A mistake about the document as a whole: on its first line that says something.
    pub fn mistake_at_start(&self, message: impl Into<String>) -> Mistake {
        let says = |line: &str| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#') && !line.starts_with("---")
        };
        let line = self.text.lines().position(says).unwrap_or(0);
        self.mistake(line + 1, message)
    }

    fn wrong(&self, error: &serde_norway::Error) -> Mistake {
        let text = error.to_string();
        // The position is told in our own way, in lines of the file.
        let text = text.split(" at line ").next().unwrap_or_default();
        match error.location() {
            Some(location) => self.mistake(location.line(), text),
            None => self.mistake_at_start(text),
        }
    }

    /// The document as a tree; null if it says nothing.
    ///
    /// # Errors
    /// If it is neither YAML nor JSON (which is YAML).
    pub fn value(&self) -> Result<Value, Mistake> {
        serde_norway::from_str(&self.text).map_err(|error| self.wrong(&error))
    }

    /// Reads an object out of its tree: the document itself, or an item of the list that it is.
    ///
    /// # Errors
    /// On the line of what does not fit.
    pub fn object<T: DeserializeOwned>(&self, value: Value, item: Option<usize>) -> Result<T, Mistake> {
        serde_norway::from_value(value).map_err(|error| {
            // Trees know no lines: the text is read once more.
            let again = match item {
                None => serde_norway::from_str::<T>(&self.text).map(|_| ()),
                Some(index) => {
                    let list = serde_norway::Deserializer::from_str(&self.text);
                    ListItem::<T>::new(index).deserialize(list)
                }
            };
            match again {
                Err(placed) => self.wrong(&placed),
                Ok(()) => self.mistake_at_start(error.to_string()),
            }
        })
    }
}

/// Reads one item of a list typed and skips everything else, so that errors know their line.
struct ListItem<T> {
    index: usize,
    within: bool,
    kind: std::marker::PhantomData<T>,
}

impl<T> ListItem<T> {
    fn new(index: usize) -> Self {
        Self {
            index,
            within: false,
            kind: std::marker::PhantomData,
        }
    }
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for ListItem<T> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.within {
            deserializer.deserialize_seq(self)
        } else {
            deserializer.deserialize_map(self)
        }
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for ListItem<T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                map.next_value_seed(Self {
                    within: true,
                    ..Self::new(self.index)
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for _ in 0..self.index {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element::<T>()?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Reads files and folders (everything in them that ends in .yaml, .yml or .json, in order of names); `-` is standard
/// input.
///
/// # Errors
/// For every file that cannot be read.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Document>, Vec<Mistake>> {
    let mut documents = Vec::new();
    let mut mistakes = Vec::new();
    for path in paths {
        if let Err(mistake) = read(path, &mut documents) {
            mistakes.push(mistake);
        }
    }
    if mistakes.is_empty() {
        Ok(documents)
    } else {
        Err(mistakes)
    }
}

fn read(path: &Path, documents: &mut Vec<Document>) -> Result<(), Mistake> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = entries.map_err(|error| unreadable(path, &error))?;
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let extension = path.extension().and_then(|e| e.to_str());
            if path.is_dir() || matches!(extension, Some("yaml" | "yml" | "json")) {
                read(&path, documents)?;
            }
        }
        return Ok(());
    }
    let text = read_text(path)?;
    documents.extend(cut(&path.display().to_string(), &text));
    Ok(())
}

/// The text of a file; `-` is standard input.
///
/// # Errors
/// If it cannot be read.
pub fn read_text(path: &Path) -> Result<String, Mistake> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Mistake {
    Mistake {
        file: path.display().to_string(),
        line: 0,
        message: error.to_string(),
    }
}

/// Cuts a stream at its `---` lines (YAML 1.2, 9.1.4), which no indented text can contain; or JSON texts that follow
/// each other.
fn cut(file: &str, text: &str) -> Vec<Document> {
    if text.trim_start().starts_with('{')
        && let Some(documents) = cut_json(file, text)
    {
        return documents;
    }
    let mut documents = Vec::new();
    let mut current = Document {
        file: file.to_owned(),
        first_line: 1,
        text: String::new(),
    };
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marker = line.strip_prefix("---");
        if marker.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            let next = Document {
                file: file.to_owned(),
                first_line: index + 1,
                text: String::new(),
            };
            documents.push(std::mem::replace(&mut current, next));
        }
        current.text.push_str(line);
    }
    documents.push(current);
    documents
}

/// `None` if it is not JSON: then it is YAML in flow style.
fn cut_json(file: &str, text: &str) -> Option<Vec<Document>> {
    let mut documents = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut start = 0;
    while let Some(each) = stream.next() {
        each.ok()?;
        let end = stream.byte_offset();
        documents.push(Document {
            file: file.to_owned(),
            first_line: text[..start].matches('\n').count() + 1,
            text: text[start..end].to_owned(),
        });
        start = end;
    }
    Some(documents)
}
