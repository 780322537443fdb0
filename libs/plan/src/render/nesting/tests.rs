use minijinja::syntax::SyntaxConfig;

use super::*;
use crate::render::ast;

fn problems(source: &str) -> Vec<String> {
    let mut nesting = Nesting::default();
    ast::visit(source, "t", &SyntaxConfig::default(), &mut nesting);
    let problems = nesting.problems().into_iter();
    problems
        .map(|(place, message)| format!("{}:{}: {message}", place.line, place.column))
        .collect()
}

#[test]
fn what_templates_do_every_day_is_fine() {
    for source in [
        "{% set n = 1 %}{% set n = n + 1 %}{% set s = 'a' %}{% set s = s ~ s %}",
        "{% set ns = namespace(n=0, all=[]) %}{% for x in xs %}{% set ns.n = ns.n + 1 %}\
         {% set ns.all = ns.all + [x, ns.n, loop.index] %}{% endfor %}",
        "{% set ns = namespace(total=0) %}{% for x in xs %}{% set ns.total = ns.total + x.size %}\
         {% endfor %}{{ [ns.total] }}",
        "{% set ns = namespace(all=[]) %}{% for x in xs %}\
         {% set ns.all = ns.all + [x] if x.ok else ns.all %}{% endfor %}",
        "{% set members = 3 %}{{ [members * 2, (cpu * members) | int] }}",
        "{% set limit = cpu * members %}{% set limit = limit if limit else memory * 2 %}",
        "{% macro a(v) %}{{ b([v]) }}{% endmacro %}{% macro b(v) %}{{ v | tojson }}{% endmacro %}\
         {{ a(x) }}",
        "{% macro tree(nodes) %}{% for n in nodes %}{{ tree(n.children) }}{% endfor %}{% endmacro %}\
         {{ tree(roots) }}",
        "{% for n in nodes recursive %}{{ loop(n.children) }}{% endfor %}",
        "{% set labels = {'app': name, 'of': {'plan': plan}} %}{{ dict(labels, more=1) }}",
        "{% for i in range(3) %}{{ {'host': 'mdb-' ~ i, 'port': 27017} | tojson }}{% endfor %}",
    ] {
        assert_eq!(problems(source), [""; 0], "{source}");
    }
}

#[test]
fn a_value_that_is_put_into_itself_is_refused() {
    let deeper = "is put into itself, one level deeper with each turn";
    for (source, name) in [
        ("{% set x = 1 %}{% set x = [x, x] %}", "x"),
        (
            "{% set x = [] %}{% for i in y %}{% set x = [x] %}{% endfor %}",
            "x",
        ),
        (
            "{% set ns = namespace(a=[]) %}{% for i in y %}{% set ns.a = [ns.a] %}{% endfor %}",
            "ns.a",
        ),
        (
            "{% set ns = namespace() %}{% for i in y %}{% set ns.a = {'b': ns} %}{% endfor %}",
            "ns.a",
        ),
        ("{% set x = y %}{% set x = x | batch(2) %}", "x"),
        ("{% set x = y %}{% set x = x[1:] %}", "x"),
        ("{% set x = y %}{% set x = dict(a=x) %}", "x"),
        ("{% macro f(x) %}{{ f([x]) }}{% endmacro %}{{ f(y) }}", "x"),
        (
            "{% macro f(x) %}{{ f(x=[x]) }}{% endmacro %}{{ f(y) }}",
            "x",
        ),
        (
            "{% macro f(x) %}{% set g = f %}{{ g([x]) }}{% endmacro %}{{ f(y) }}",
            "an argument of a call",
        ),
        (
            "{% macro f(x) %}{{ caller([x]) }}{% endmacro %}\
             {% call(v) f(y) %}{{ f(v) }}{% endcall %}",
            "an argument of a call",
        ),
        (
            "{% for x in y recursive %}{{ loop([x]) }}{% endfor %}",
            "an argument of a call",
        ),
    ] {
        let found = problems(source);
        let expected = match name {
            "an argument of a call" => format!("{name} {deeper}"),
            _ => format!("{name} {deeper}: add to a flat list, as in {name} = {name} + [item]"),
        };
        assert!(
            found.iter().any(|p| p.ends_with(&expected)),
            "{source}: {found:?}"
        );
    }
}

#[test]
fn a_value_that_doubles_is_refused() {
    for source in [
        "{% set x = y %}{% set x = x + x %}",
        "{% set ns = namespace(a=y) %}{% for i in z %}{% set ns.a = ns.a + ns.a %}{% endfor %}",
        "{% set ns = namespace(a=y, b=y) %}{% for i in z %}{% set ns.a = ns.b + ns.b %}\
         {% set ns.b = ns.a %}{% endfor %}",
        "{% macro f(x) %}{{ f(x + x) }}{% endmacro %}{{ f(y) }}",
    ] {
        let found = problems(source);
        let doubles = |p: &String| p.contains("is made of itself twice, so that it doubles");
        assert!(found.iter().any(doubles), "{source}: {found:?}");
    }
}

#[test]
fn names_of_their_own_help_nobody() {
    let chain = |of: &dyn Fn(usize) -> String, length: usize| -> String {
        let sets = (1..=length).map(|i| format!("{{% set a{i} = {} %}}\n", of(i - 1)));
        "{% set a0 = y %}\n".to_owned() + &sets.collect::<String>()
    };
    let doubled = problems(&chain(&|i| format!("[a{i}, a{i}]"), 24));
    assert_eq!(
        doubled[0],
        "9:8: holds the same values over and over, more than 200 times"
    );
    let added = problems(&chain(&|i| format!("a{i} + a{i}"), 24));
    assert_eq!(
        added[0],
        "9:8: holds the same values over and over, more than 200 times"
    );
    let deep = problems(&chain(&|i| format!("[a{i}]"), 100));
    assert_eq!(
        deep[0],
        "34:8: is nested more than 32 levels deeper than what it is made of"
    );
    assert_eq!(problems(&chain(&|i| format!("[a{i}, a{i}]"), 5)), [""; 0]);
}

#[test]
fn a_list_that_is_repeated_stands_alone() {
    let inside = "a product inside of a list or an object may be a list that is repeated: put \
                  it into parentheses with | int or | float behind them";
    for (source, expected) in [
        (
            "{{ [y * 10000000] == [z * 10000000] }}",
            "holds the same values over and over",
        ),
        ("{{ [y * z] }}", inside),
        ("{% set x = y * z %}{{ {'a': x} }}", inside),
    ] {
        let found = problems(source);
        assert!(
            found.iter().any(|p| p.contains(expected)),
            "{source}: {found:?}"
        );
    }
}

#[test]
fn many_names_are_no_problem() {
    let lines = |count: usize, line: &dyn Fn(usize) -> String| {
        (0..count).map(line).collect::<Vec<_>>().concat()
    };
    let cycles = lines(20_000, &|i| {
        format!("{{% set a{i} = [a{}] + b %}}", (i * 7) % 20_000)
    });
    assert!(!problems(&cycles).is_empty());
    let chain = lines(20_000, &|i| {
        format!("{{% set a{} = a{} %}}", 20_000 - i, 20_001 - i)
    });
    assert_eq!(problems(&chain), [""; 0]);
    let macros = lines(2_000, &|i| {
        format!("{{% macro m{i}(a, b, c) %}}{{{{ x.m(a, b) }}}}{{% endmacro %}}")
    });
    assert_eq!(problems(&macros), [""; 0]);
}
