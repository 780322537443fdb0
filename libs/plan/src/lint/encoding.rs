//! `data` of a Secret holds base64. A text that is written there as it is becomes other bytes, and
//! nobody is told: 32 characters of a password are base64 of 24 bytes.

use std::collections::BTreeMap;

use minijinja::machinery::ast;

use super::{Skeletons, Subject};
use crate::descriptor::Generate;
use crate::fault::Problem;
use crate::render::ast::{self as tree, Place, Visitor};
use crate::render::engine::syntax_config;

const MESSAGE: &str =
    "data of a Secret holds base64: write this value below stringData, or use | b64encode";

/// Finds each output in `data` of a Secret that is no base64.
pub(crate) fn check(subject: &Subject<'_>, skeletons: &Skeletons<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, source) in subject.files {
        let Some(Some(skeleton)) = skeletons.get(name.as_str()) else {
            continue;
        };
        let mut outputs = Plain {
            generate: &subject.descriptor.generate,
            found: Vec::new(),
        };
        tree::visit(source, name, &syntax_config(), &mut outputs);
        for place in outputs.found {
            let is_data = skeleton.position(place.offset).is_some_and(|position| {
                position.kind == Some("Secret") && matches!(position.keys[..], ["data", _])
            });
            if is_data {
                let pos = subject.place(name, place.line, place.column);
                problems.push(Problem::at(&pos, MESSAGE));
            }
        }
    }
    problems
}

/// The outputs that are not encoded.
struct Plain<'a> {
    generate: &'a BTreeMap<String, Generate>,
    found: Vec<Place>,
}

impl Plain<'_> {
    /// A generated key is base64 already: of the bytes that it stands for.
    fn is_encoded(&self, expr: &ast::Expr<'_>) -> bool {
        match expr {
            ast::Expr::Filter(filter) => filter.name == "b64encode",
            ast::Expr::GetAttr(get) => {
                let of_generated =
                    matches!(&get.expr, ast::Expr::Var(name) if name.id == "generated");
                let generate = self.generate.get(get.name);
                of_generated && matches!(generate, Some(Generate::Key { .. }))
            }
            _ => false,
        }
    }
}

impl Visitor for Plain<'_> {
    fn stmt(&mut self, stmt: &ast::Stmt<'_>) {
        if let ast::Stmt::EmitExpr(emit) = stmt
            && !self.is_encoded(&emit.expr)
        {
            self.found.push(emit.expr.span().into());
        }
    }
}
