//! What templates and expressions can use, each with what it is: the lists that lint checks names by,
//! and that `plan explain` prints.

/// A name with its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// As it is written.
    pub name: &'static str,
    /// What it is or gives.
    pub meaning: &'static str,
}

const fn word(name: &'static str, meaning: &'static str) -> Word {
    Word { name, meaning }
}

/// Whether a list has a name.
pub(crate) fn has(words: &[Word], name: &str) -> bool {
    words.iter().any(|word| word.name == name)
}

/// The names of a list.
pub(crate) fn names(words: &[Word]) -> Vec<&'static str> {
    words.iter().map(|word| word.name).collect()
}

/// Variables of templates and expressions.
pub const VARIABLES: [Word; 12] = [
    word(
        "parameters",
        "what the user sent, with defaults; each also by its own name",
    ),
    word(
        "plan",
        "plan.values (the author's numbers, each also by its own name), plan.name, plan.id",
    ),
    word(
        "name",
        "a short name of this instance alone; begins with a letter, at most 16 characters",
    ),
    word("namespace", "where the objects of the instance are"),
    word(
        "instance",
        "instance.name, instance.namespace, and instance.id, which is free text of the platform",
    ),
    word(
        "generated",
        "what `generate` made for this instance, in data and stringData of Secrets only",
    ),
    word(
        "secrets",
        "secrets.<name>.<key>: Secrets of the broker's operator, in data and stringData of Secrets only",
    ),
    word(
        "outputs",
        "what `outputs` says and is known by now: the files before this one have been applied",
    ),
    word(
        "context",
        "what the platform says of the organization, space or namespace; each key also by its own name",
    ),
    word("service", "service.name, service.id: the offering"),
    word(
        "broker",
        "broker.cluster_domain, broker.namespace, broker.bootstrap_image, broker.allowed_cidrs, \
         broker.allowed_namespaces",
    ),
    word(
        "binding",
        "binding.id, binding.name, binding.username, binding.password, binding.parameters; in \
         templates of binding/ only",
    ),
];

/// Variables that only expressions have.
pub const VARIABLES_OF_EXPRESSIONS: [Word; 6] = [
    word(
        "object",
        "ready, claims: the object as it is in the cluster",
    ),
    word("applied", "ready: the object as it was last applied"),
    word("now", "ready: the time, in RFC 3339"),
    word(
        "objects",
        "outputs: objects[\"Kind/name\"], each as it is in the cluster; Secrets without content",
    ),
    word("item", "outputs with `each`: the item"),
    word("ordinal", "claims: the number of the pod"),
];

/// Filters of templates and expressions.
pub const FILTERS: [Word; 49] = [
    word("abs", "a number without its sign"),
    word("attr", "an attribute by its name"),
    word("b64decode", "the text that base64 holds"),
    word("b64encode", "a text as base64, for data of a Secret"),
    word("batch", "a list in lists of so many items"),
    word("bool", "true or false"),
    word("capitalize", "a text with its first letter in upper case"),
    word("chain", "lists or maps, one after the other"),
    word("count", "the number of items or characters"),
    word("d", "as default"),
    word(
        "default",
        "another value where there is none; default(x, true) also for null and empty",
    ),
    word("dictsort", "a map as a list of pairs in order"),
    word("first", "the first item"),
    word("float", "a number with a fraction"),
    word("format", "a text with its %s and %d filled in"),
    word("groupby", "a list in groups by an attribute"),
    word(
        "indent",
        "a text with blanks before each line but the first",
    ),
    word("int", "a whole number"),
    word("items", "a map as a list of pairs"),
    word("join", "the items of a list as one text"),
    word("last", "the last item"),
    word("length", "the number of items or characters"),
    word("lines", "the lines of a text"),
    word("list", "a list of what can be looped over"),
    word("lower", "a text in lower case"),
    word("map", "an attribute, or a filter, of each item"),
    word("max", "the largest item"),
    word("min", "the smallest item"),
    word("reject", "the items that a test does not hold for"),
    word(
        "rejectattr",
        "the items for whose attribute a test does not hold",
    ),
    word("replace", "a text with one part replaced by another"),
    word("reverse", "backwards"),
    word("round", "a rounded number"),
    word("select", "the items that a test holds for"),
    word("selectattr", "the items for whose attribute a test holds"),
    word(
        "sha256",
        "the SHA-256 of a text in hexadecimal: for names that change with what they depend on",
    ),
    word("slice", "a list in so many lists"),
    word("sort", "a list in order"),
    word("split", "the parts of a text"),
    word("string", "a text of any value"),
    word("sum", "the sum of numbers"),
    word(
        "title",
        "a text with each word's first letter in upper case",
    ),
    word(
        "tojson",
        "JSON text, for a file or an annotation that holds JSON; no protection in a shell",
    ),
    word("trim", "a text without blanks at its ends"),
    word(
        "truncate",
        "the beginning of a text: truncate(20, true, \"\") gives at most 20 characters",
    ),
    word("unique", "a list without repetitions"),
    word("upper", "a text in upper case"),
    word("urlencode", "a text as one part of a URL"),
    word("zip", "lists as a list of tuples"),
];

/// Tests of templates and expressions: `x is defined`.
pub const TESTS: [Word; 34] = [
    word("boolean", "true or false"),
    word("defined", "has a value"),
    word("divisibleby", "a number without a rest"),
    word("endingwith", "a text that ends so"),
    word("eq", "is equal"),
    word("equalto", "is equal"),
    word("even", "an even number"),
    word("false", "is false"),
    word("filter", "the name of a filter"),
    word("float", "a number with a fraction"),
    word("ge", "is not less"),
    word("greaterthan", "is more"),
    word("gt", "is more"),
    word("in", "is an item, a key or a part"),
    word("int", "a whole number"),
    word("integer", "a whole number"),
    word("iterable", "can be looped over"),
    word("le", "is not more"),
    word("lessthan", "is less"),
    word("lower", "a text in lower case"),
    word("lt", "is less"),
    word("mapping", "a map"),
    word("ne", "is not equal"),
    word("none", "is null"),
    word("number", "a number"),
    word("odd", "an odd number"),
    word("sameas", "is the same value"),
    word("sequence", "a list"),
    word("startingwith", "a text that begins so"),
    word("string", "a text"),
    word("test", "the name of a test"),
    word("true", "is true"),
    word("undefined", "has no value"),
    word("upper", "a text in upper case"),
];

/// Functions of templates and expressions.
pub const FUNCTIONS: [Word; 2] = [
    word("range", "range(3) is 0, 1, 2; range(1, 4) is 1, 2, 3"),
    word("dict", "a map: dict(a=1)"),
];

/// Functions that only expressions have.
pub const FUNCTIONS_OF_EXPRESSIONS: [Word; 3] = [
    word(
        "age",
        "the seconds since a time in RFC 3339; undefined without one",
    ),
    word(
        "contains",
        "whether all of the second value is in the first: objects by key, lists item by item",
    ),
    word(
        "fromjson",
        "the value of a JSON text, also as a filter; undefined if it is none",
    ),
];

#[cfg(test)]
mod tests {
    use minijinja::UndefinedBehavior;

    use super::*;
    use crate::render::engine::environment;
    use crate::variables::{BUILT_INS, EXPRESSION_NAMES};

    #[test]
    fn the_lists_are_what_there_is() {
        let env = environment(UndefinedBehavior::Strict);
        let is = |what: &str, name: &str| {
            let source = format!("{name:?} is {what}");
            let compiled = env.compile_expression(&source).unwrap();
            compiled.eval(()).unwrap().is_true()
        };
        for name in names(&FILTERS) {
            assert!(is("filter", name), "{name}");
        }
        for name in names(&TESTS) {
            assert!(is("test", name), "{name}");
        }
        // The variable `namespace` hides the function.
        let mut globals: Vec<_> = env.globals().map(|(name, _)| name).collect();
        globals.retain(|name| *name != "namespace");
        globals.sort_unstable();
        let mut functions = names(&FUNCTIONS);
        functions.sort_unstable();
        assert_eq!(globals, functions);
    }

    #[test]
    fn each_variable_is_described() {
        let mut described = [names(&VARIABLES), names(&VARIABLES_OF_EXPRESSIONS)].concat();
        described.sort_unstable();
        let mut known = [&BUILT_INS[..], &EXPRESSION_NAMES].concat();
        known.sort_unstable();
        assert_eq!(described, known);
    }
}
