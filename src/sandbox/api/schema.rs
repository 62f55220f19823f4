//! The types of kinds, as far as ownership and pruning need them.
//!
//! In: `schema.txt` for the built-in kinds, a `CustomResourceDefinition`'s `OpenAPI` schema for the others. Out: a [`Schema`]
//! whose types say which fields exist, which lists are maps by key, and what is one indivisible value.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use serde_json::Value;

use super::super::json;

/// The index of a type in its schema.
pub(crate) type TypeId = usize;

/// What a scalar holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Text,
    Number,
    Boolean,
    Untyped,
    Quantity,
}

/// How the elements of a list are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Relation {
    Atomic,
    Set,
    Keyed(Vec<String>),
}

/// One type.
#[derive(Debug, Clone)]
pub(crate) enum Type {
    Scalar(Scalar),
    List {
        element: TypeId,
        relation: Relation,
    },
    /// Fields by name; `element` is the type of every other key, and none means that there is no other key.
    Map {
        fields: BTreeMap<String, Field>,
        element: Option<TypeId>,
        atomic: bool,
    },
    /// Anything; maps are granular unless `atomic`, lists are always one value.
    Free {
        atomic: bool,
    },
}

/// A named field.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) of: TypeId,
    /// The default that stands in for the field where it is a list key.
    pub(crate) default: Option<String>,
}

/// A set of types that refer to each other, and the one that an object has.
#[derive(Debug)]
pub(crate) struct Schema {
    types: Vec<Type>,
    names: HashMap<String, TypeId>,
}

/// A type within its schema: what the walkers carry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Typed<'a> {
    schema: &'a Schema,
    id: TypeId,
}

static FREE: Type = Type::Free { atomic: false };
static FREE_ATOMIC: Type = Type::Free { atomic: true };

const FREE_ID: TypeId = 0;
const FREE_ATOMIC_ID: TypeId = 1;

impl<'a> Typed<'a> {
    pub(crate) fn shape(self) -> &'a Type {
        self.schema.types.get(self.id).unwrap_or(&FREE)
    }

    pub(crate) fn with(self, id: TypeId) -> Self {
        Self { schema: self.schema, id }
    }

    /// The type of the member `key` of a map of this type; none if it has no such member.
    pub(crate) fn member(self, key: &str) -> Option<Self> {
        match self.shape() {
            Type::Map { fields, element, .. } => {
                fields.get(key).map(|field| field.of).or(*element).map(|id| self.with(id))
            }
            Type::Free { .. } => Some(self),
            Type::Scalar(_) | Type::List { .. } => None,
        }
    }

    /// As [`Self::member`]; what is not declared is free form.
    pub(crate) fn member_or_free(self, key: &str) -> Self {
        self.member(key).unwrap_or(self.with(FREE_ID))
    }

    /// Whether `key` is a field by name, not just a key of a map.
    pub(crate) fn names(self, key: &str) -> bool {
        matches!(self.shape(), Type::Map { fields, .. } if fields.contains_key(key))
    }

    pub(crate) fn element(self) -> Self {
        match self.shape() {
            Type::List { element, .. } => self.with(*element),
            _ => self.with(FREE_ATOMIC_ID),
        }
    }

    pub(crate) fn relation(self) -> &'a Relation {
        match self.shape() {
            Type::List { relation, .. } => relation,
            _ => &Relation::Atomic,
        }
    }

    /// Whether a map of this type is one indivisible value.
    pub(crate) fn atomic_map(self) -> bool {
        match self.shape() {
            Type::Map { atomic, .. } | Type::Free { atomic } => *atomic,
            Type::Scalar(_) | Type::List { .. } => true,
        }
    }

    /// The default of the list key `key` of a map of this type.
    pub(crate) fn key_default(self, key: &str) -> Option<&'a str> {
        match self.shape() {
            Type::Map { fields, .. } => fields.get(key)?.default.as_deref(),
            _ => None,
        }
    }
}

impl Schema {
    fn empty() -> Self {
        Self { types: vec![FREE.clone(), FREE_ATOMIC.clone()], names: HashMap::new() }
    }

    /// The built-in kinds.
    pub(crate) fn builtin() -> Arc<Self> {
        static BUILTIN: LazyLock<Arc<Schema>> =
            LazyLock::new(|| Arc::new(Schema::parse(include_str!("schema.txt"))));
        BUILTIN.clone()
    }

    /// A schema that knows nothing: every object is free form.
    pub(crate) fn free() -> Arc<Self> {
        Arc::new(Self::empty())
    }

    /// The schema of a custom resource, from its version's `openAPIV3Schema`. Its root is named `root`.
    pub(crate) fn from_open_api(open_api: &Value) -> Arc<Self> {
        let mut schema = Self::empty();
        let root = schema.open_api_type(open_api);
        if let Some(Type::Map { mut fields, element, .. }) = schema.types.get(root).cloned() {
            let text = schema.add(Type::Scalar(Scalar::Text));
            for name in ["apiVersion", "kind"] {
                fields.insert(name.to_owned(), Field { of: text, default: None });
            }
            let meta = schema.graft(&Self::builtin(), "meta.v1.ObjectMeta");
            fields.insert("metadata".to_owned(), Field { of: meta, default: None });
            if let Some(slot) = schema.types.get_mut(root) {
                *slot = Type::Map { fields, element, atomic: false };
            }
        }
        schema.names.insert("root".to_owned(), root);
        Arc::new(schema)
    }

    /// The type called `name`; free form if there is none.
    pub(crate) fn typed(&self, name: &str) -> Typed<'_> {
        Typed { schema: self, id: self.names.get(name).copied().unwrap_or(FREE_ID) }
    }

    fn add(&mut self, new: Type) -> TypeId {
        self.types.push(new);
        self.types.len() - 1
    }

    /// Copies the type `name` of another schema, with all that it refers to.
    fn graft(&mut self, from: &Self, name: &str) -> TypeId {
        let offset = self.types.len();
        let moved = |id: TypeId| id + offset;
        for one in &from.types {
            self.types.push(match one {
                Type::List { element, relation } => {
                    Type::List { element: moved(*element), relation: relation.clone() }
                }
                Type::Map { fields, element, atomic } => Type::Map {
                    fields: fields
                        .iter()
                        .map(|(key, field)| {
                            let mut field = field.clone();
                            field.of = moved(field.of);
                            (key.clone(), field)
                        })
                        .collect(),
                    element: element.map(moved),
                    atomic: *atomic,
                },
                other => other.clone(),
            });
        }
        from.names.get(name).map_or(FREE_ID, |id| moved(*id))
    }

    fn parse(text: &str) -> Self {
        let mut schema = Self::empty();
        let lines = || text.lines().filter(|line| !line.starts_with('#'));
        for line in lines().filter(|line| !line.starts_with(' ')) {
            let (name, atomic) = match line.strip_suffix(" !") {
                Some(name) => (name, true),
                None => (line, false),
            };
            let id = schema.add(Type::Map { fields: BTreeMap::new(), element: None, atomic });
            schema.names.insert(name.to_owned(), id);
        }
        let mut current = FREE_ID;
        for line in lines() {
            match line.strip_prefix(' ') {
                None => {
                    let name = line.strip_suffix(" !").unwrap_or(line);
                    current = schema.names.get(name).copied().unwrap_or(FREE_ID);
                }
                Some(field) => schema.parse_field(current, field),
            }
        }
        schema
    }

    fn parse_field(&mut self, owner: TypeId, line: &str) {
        let mut words = line.splitn(3, ' ');
        let (Some(name), Some(code)) = (words.next(), words.next()) else {
            return;
        };
        let default = words.next().and_then(|word| word.strip_prefix('=')).map(str::to_owned);
        let of = self.parse_code(code);
        if let Some(Type::Map { fields, element, .. }) = self.types.get_mut(owner) {
            if name == "*" {
                *element = Some(of);
            } else {
                fields.insert(name.to_owned(), Field { of, default });
            }
        }
    }

    fn parse_code(&mut self, code: &str) -> TypeId {
        if let Some((inside, rest)) = code.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let element = self.parse_code(rest);
            let relation = match inside {
                "!" => Relation::Atomic,
                "=" => Relation::Set,
                keys => Relation::Keyed(keys.split(',').map(str::to_owned).collect()),
            };
            return self.add(Type::List { element, relation });
        }
        if let Some((inside, rest)) = code.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            let element = self.parse_code(rest);
            return self.add(Type::Map {
                fields: BTreeMap::new(),
                element: Some(element),
                atomic: inside == "!",
            });
        }
        if let Some(name) = code.strip_prefix('@') {
            return self.names.get(name).copied().unwrap_or(FREE_ID);
        }
        // A field may be atomic where its type is not. Its members are then not looked into, so they need not be known.
        if code.starts_with("!@") {
            return FREE_ATOMIC_ID;
        }
        match code {
            "s" => self.add(Type::Scalar(Scalar::Text)),
            "n" => self.add(Type::Scalar(Scalar::Number)),
            "b" => self.add(Type::Scalar(Scalar::Boolean)),
            "q" => self.add(Type::Scalar(Scalar::Quantity)),
            "A" => FREE_ATOMIC_ID,
            "D" => FREE_ID,
            _ => self.add(Type::Scalar(Scalar::Untyped)),
        }
    }

    fn open_api_type(&mut self, open_api: &Value) -> TypeId {
        if json::flag(open_api, &["x-kubernetes-int-or-string"]) {
            return self.add(Type::Scalar(Scalar::Untyped));
        }
        match json::text(open_api, &["type"]) {
            "object" => self.open_api_object(open_api),
            "array" => self.open_api_array(open_api),
            "string" => self.add(Type::Scalar(Scalar::Text)),
            "integer" | "number" => self.add(Type::Scalar(Scalar::Number)),
            "boolean" => self.add(Type::Scalar(Scalar::Boolean)),
            _ => FREE_ID,
        }
    }

    fn open_api_object(&mut self, open_api: &Value) -> TypeId {
        let atomic = json::text(open_api, &["x-kubernetes-map-type"]) == "atomic";
        let mut fields = BTreeMap::new();
        let properties = json::at(open_api, &["properties"]).and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let of = self.open_api_type(property);
            let default = json::at(property, &["default"]).and_then(Value::as_str).map(str::to_owned);
            fields.insert(name.clone(), Field { of, default });
        }
        let element = match json::at(open_api, &["additionalProperties"]) {
            Some(Value::Bool(true)) => Some(FREE_ID),
            Some(inner @ Value::Object(_)) => Some(self.open_api_type(inner)),
            _ if json::flag(open_api, &["x-kubernetes-preserve-unknown-fields"]) => Some(FREE_ID),
            _ => None,
        };
        self.add(Type::Map { fields, element, atomic })
    }

    fn open_api_array(&mut self, open_api: &Value) -> TypeId {
        let element = json::at(open_api, &["items"]).map_or(FREE_ID, |items| self.open_api_type(items));
        let relation = match json::text(open_api, &["x-kubernetes-list-type"]) {
            "set" => Relation::Set,
            "map" => Relation::Keyed(
                json::list(open_api, &["x-kubernetes-list-map-keys"])
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            ),
            _ => Relation::Atomic,
        };
        self.add(Type::List { element, relation })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn built_in_lists_know_their_keys() {
        let schema = Schema::builtin();
        let ports = schema
            .typed("apps.v1.Deployment")
            .member_or_free("spec")
            .member_or_free("template")
            .member_or_free("spec")
            .member_or_free("containers")
            .element()
            .member_or_free("ports");
        assert_eq!(
            ports.relation(),
            &Relation::Keyed(vec!["containerPort".to_owned(), "protocol".to_owned()])
        );
        assert_eq!(ports.element().key_default("protocol"), Some("TCP"));
        assert!(schema.typed("meta.v1.LabelSelector").atomic_map());
    }

    #[test]
    fn a_custom_resource_has_object_metadata() {
        let schema = Schema::from_open_api(&json!({
            "type": "object",
            "properties": {"spec": {"type": "object", "properties": {"suspend": {"type": "boolean"}}}},
        }));
        let root = schema.typed("root");
        assert!(root.member_or_free("metadata").names("labels"));
        assert!(root.member_or_free("spec").member("nothing").is_none());
    }
}
