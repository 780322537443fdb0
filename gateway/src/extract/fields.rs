//! The fields of a body, read one by one. Every fault names its field by a
//! JSON pointer; fields that nobody asks for are never looked at, as the
//! specification wants of unknown ones.
//!
//! `null` means absent everywhere: platforms send both.

use prost_types::Struct;
use serde_json::{Map, Value};

use super::json;
use crate::error::Error;

/// An object of the body.
#[derive(Debug)]
pub(crate) struct Fields {
    object: Map<String, Value>,
    /// The object's own place.
    at: String,
}

impl Fields {
    /// The body's outermost object.
    pub(crate) fn new(object: Map<String, Value>) -> Self {
        Self {
            object,
            at: String::new(),
        }
    }

    /// A text, if it is there; may be empty.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(self.wrong(name, "a string"))
            }
        }
    }

    /// A text that must not be empty if it is there.
    pub(crate) fn optional_text(&self, name: &str) -> Result<Option<String>, Error> {
        match self.text(name)? {
            Some(text) if text.is_empty() => Err(self.wrong(name, "a non-empty string")),
            text => Ok(text),
        }
    }

    /// A text that must be there and not be empty.
    pub(crate) fn required_text(&self, name: &str) -> Result<String, Error> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| {
                let at = &self.at;
                Error::Invalid(format!(
                    "The field {at}/{name} is required and must not be empty."
                ))
            })
    }

    /// An object whose fields we know, if it is there.
    pub(crate) fn nested(&mut self, name: &str) -> Result<Option<Self>, Error> {
        let at = format!("{}/{name}", self.at);
        Ok(self.object(name)?.map(|object| Self { object, at }))
    }

    /// An object that we pass on, if it is there.
    pub(crate) fn structure(&mut self, name: &str) -> Result<Option<Struct>, Error> {
        let at = format!("{}/{name}", self.at);
        self.object(name)?
            .map(|object| json::to_struct(&object, &at))
            .transpose()
            .map_err(|error| Error::Invalid(format!("The request is invalid: {error}.")))
    }

    /// The object itself, to pass on what is left of it.
    pub(crate) fn to_structure(&self) -> Result<Struct, Error> {
        json::to_struct(&self.object, &self.at)
            .map_err(|error| Error::Invalid(format!("The request is invalid: {error}.")))
    }

    /// `maintenance_info.version`: all that counts of that object (PRO-14).
    /// Compared as text later, so it need not be SemVer. The specification
    /// requires it in an object that is sent.
    pub(crate) fn maintenance_version(&mut self) -> Result<Option<String>, Error> {
        match self.nested("maintenance_info")? {
            Some(info) => info.required_text("version").map(Some),
            None => Ok(None),
        }
    }

    fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(
                Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::String(_)
                | Value::Null,
            ) => Err(self.wrong(name, "an object")),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, expected: &str) -> Error {
        let at = &self.at;
        Error::Invalid(format!("The field {at}/{name} must be {expected}."))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        let Value::Object(object) = value else {
            panic!("not an object")
        };
        Fields::new(object)
    }

    /// PRO-02 to PRO-06, BND-03.
    #[test]
    fn faults_name_the_field_and_what_is_expected() {
        let mut fields = fields(json!({
            "number": 1, "empty": "", "null": null, "list": [],
            "maintenance_info": {"version": 2}, "parameters": {"a": [9_007_199_254_740_993_u64]}
        }));
        for (error, expected) in [
            (
                fields.required_text("number"),
                "The field /number must be a string.",
            ),
            (
                fields.required_text("empty"),
                "The field /empty is required",
            ),
            (fields.required_text("null"), "The field /null is required"),
            (
                fields.required_text("absent"),
                "The field /absent is required",
            ),
        ] {
            let text = error.unwrap_err().to_string();
            assert!(text.starts_with(expected), "{text}");
        }
        let text = fields.structure("list").unwrap_err().to_string();
        assert_eq!(text, "The field /list must be an object.");
        let text = fields.maintenance_version().unwrap_err().to_string();
        assert_eq!(
            text,
            "The field /maintenance_info/version must be a string."
        );
        let text = fields.structure("parameters").unwrap_err().to_string();
        assert!(text.contains("/parameters/a/0"), "{text}");
    }

    /// PRO-14: the version is required in an object that is sent.
    #[test]
    fn maintenance_info_has_a_version_or_is_absent() {
        for (body, expected) in [
            (json!({}), Some(None)),
            (json!({"maintenance_info": null}), Some(None)),
            (
                json!({"maintenance_info": {"version": "1"}}),
                Some(Some("1")),
            ),
            (json!({"maintenance_info": {}}), None),
            (json!({"maintenance_info": {"version": null}}), None),
            (json!({"maintenance_info": {"version": ""}}), None),
        ] {
            let version = fields(body.clone()).maintenance_version().ok();
            let version = version.as_ref().map(Option::as_deref);
            assert_eq!(version, expected, "{body}");
        }
    }

    /// Trap 13.
    #[test]
    fn absent_and_null_are_one_and_an_empty_object_is_another() {
        assert!(fields(json!({})).structure("parameters").unwrap().is_none());
        let mut null = fields(json!({"parameters": null}));
        assert!(null.structure("parameters").unwrap().is_none());
        let mut empty = fields(json!({"parameters": {}}));
        assert!(empty.structure("parameters").unwrap().is_some());
    }
}
