//! `plan explain`.

use std::io::Write;

use clap::{Args, ValueEnum};
use plan::language::{
    FILTERS, FUNCTIONS, FUNCTIONS_OF_EXPRESSIONS, TESTS, VARIABLES, VARIABLES_OF_EXPRESSIONS, Word,
};

use super::Failure;

/// Print what templates can use, and how plans are laid out.
#[derive(Debug, Args)]
pub struct Explain {
    /// One topic; all without it.
    #[arg(value_enum)]
    topic: Option<Topic>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Topic {
    /// Variables of templates and expressions.
    Variables,
    /// Filters, tests and functions.
    Filters,
    /// What becomes of a value.
    Values,
    /// Folders and files of a plan.
    Files,
    /// A plan as a ConfigMap.
    Configmap,
    /// Versions of a plan.
    Versions,
    /// Manifests of other hosts.
    Url,
}

const VALUES: &str = "\
A value never becomes syntax: it keeps its type where it stands alone, quoted or not, and is text where it stands in
text. It needs no quotes and no escaping.

    replicas: {{ members }}            # a number stays one
    note: {{ note }}                   # any text, of any number of lines
    host: \"db.{{ namespace }}.svc\"
    tolerations: {{ tolerations }}     # a list or a map is put in whole
    storageClassName: {{ class }}      # null drops the key

apiVersion, kind and the keys of an object's top level are written out.

Free text, of a user (a parameter without enum, pattern or a number's type) or of the platform (context, instance.id), may
not stand where something reads text: in a block scalar (| or >), in a script, as the program that is run. A script takes
it as an argument or as an environment variable:

    command: [sh, -c, 'run \"$1\"', --, \"{{ note }}\"]
    env: [{name: NOTE, value: \"{{ note }}\"}]       # and \"$NOTE\" in the script

The kubelet expands $(NAME) of the author's own text only: each $ of a value is doubled in command, args and env.

A generated value or one of `secrets` may stand in data and stringData of a Secret that the plan renders, and nowhere else.
data of a Secret holds base64: write stringData, or | b64encode.

Text of another template language (Helm, Prometheus) stands between {% raw %} and {% endraw %}.
";

const FILES: &str = "\
    <root>/<service provider>/service.yaml      the offering: name, description, tags (optional)
    <root>/<service provider>/<plan>/plan.yaml  the plan: parameters, outputs, readiness, binding (optional)
    <root>/<service provider>/<plan>/*.yaml     templates
    <root>/<service provider>/<plan>/*.url      addresses of manifests
    <root>/<service provider>/<plan>/binding/   templates of a binding, for binding.method: resources
    <root>/<service provider>/<plan>/tests/     cases: <name>.yaml, and <name>.golden.yaml as `plan test` writes it
    <root>/<service provider>/_<base>/          a base: no plan, `extends: _base` lays a plan over it

A folder with one template and no plan.yaml is a plan: names that nothing else defines become its parameters.

Templates are rendered and applied in the order of their names, numbers as people count them: 2-b.yaml before 10-a.yaml.
The objects of a file are ready before the next file is rendered, so that it knows the outputs of those before it.

A plan that extends a base has its files and keys: maps merge deeply, lists and files of the same name replace, null drops
a key, an empty file drops the base's file.

A case has some of the keys parameters, context, outputs, bind, update and refused. `plan test` renders it and compares that
with the golden file: for a pipeline. Cases are no part of the plan, and what extends a base does not inherit any.

.md and .txt are documentation. Hidden files, and files of other names, are passed over.
";

const CONFIGMAP: &str = "\
A ConfigMap in the broker's namespace for plans (by default mongodb-osb-plans) is a plan: its label
mongodb-osb.io/plan is <service provider>.<plan>, its keys are the names of the files. A ConfigMap has no folders: the key
binding.user.yaml is the file binding/user.yaml. service.yaml is the provider's; the label <service provider> alone carries
nothing else. `catalog-svc plan configmap` prints it.
";

const VERSIONS: &str = "\
`version` in plan.yaml is a semantic version; platforms see it as maintenance_info.version. An instance keeps the content that
it was ordered with until somebody updates it to another version: raise `version` with every change of a plan that instances
shall get. Other content under the same version, and a lower version, are warnings. A plan without `version` has one of its
content's digest (0.0.0+1f3c…), so that each change of it is a new version.

A plan with a fault does not replace the version that is served: that stays.
";

const URL: &str = "\
A file with the ending .url has one address a line, https only; #sha256=<digest> behind it pins the content. What is fetched is
applied as it is: nothing in it is replaced. It takes the file's place among the templates.

The broker's operator allows hosts with BROKER_URL_ALLOW, and names their certificate authority with BROKER_URL_CA. The tools
take --url-allow and --url-ca; what they may not fetch they do not look at, and a warning says so.

What was fetched once is stored, and is what all replicas serve from then on, also when the host is away. It is fetched again
when the text of the file changes, and by `catalog-svc plan refresh --plan <service provider>/<plan>`. The plan's content
changes with it: change its version, too.
";

impl Topic {
    fn title(self) -> &'static str {
        match self {
            Self::Variables => "Variables",
            Self::Filters => "Filters, tests, functions",
            Self::Values => "Values",
            Self::Files => "Folders and files",
            Self::Configmap => "A plan as a ConfigMap",
            Self::Versions => "Versions",
            Self::Url => "Manifests of other hosts",
        }
    }

    fn text(self) -> String {
        match self {
            Self::Variables => {
                let of_expressions = list(&VARIABLES_OF_EXPRESSIONS);
                format!(
                    "{}\nA name is a variable of this list, else a parameter, else one of the plan's \
                     values, else a key of the context.\n\nIn expressions of plan.yaml, too:\n\n{of_expressions}",
                    list(&VARIABLES)
                )
            }
            Self::Filters => format!(
                "{}\nTests:\n\n{}\nFunctions:\n\n{}\nFunctions of expressions of plan.yaml:\n\n{}",
                list(&FILTERS),
                list(&TESTS),
                list(&FUNCTIONS),
                list(&FUNCTIONS_OF_EXPRESSIONS)
            ),
            Self::Values => VALUES.to_owned(),
            Self::Files => FILES.to_owned(),
            Self::Configmap => CONFIGMAP.to_owned(),
            Self::Versions => VERSIONS.to_owned(),
            Self::Url => URL.to_owned(),
        }
    }
}

fn list(words: &[Word]) -> String {
    let width = words.iter().map(|word| word.name.len()).max().unwrap_or(0);
    let line = |word: &Word| format!("    {:width$}  {}\n", word.name, word.meaning);
    words.iter().map(line).collect()
}

impl Explain {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<(), Failure> {
        let topics = match &self.topic {
            Some(topic) => std::slice::from_ref(topic),
            None => Topic::value_variants(),
        };
        let texts = topics
            .iter()
            .map(|topic| format!("# {}\n\n{}", topic.title(), topic.text()));
        out.write_all(texts.collect::<Vec<_>>().join("\n").as_bytes())?;
        Ok(())
    }
}
