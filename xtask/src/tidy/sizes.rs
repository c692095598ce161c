//! Budgets, heads and names. The numbers stand here and in STYLE; where they differ, this file is wrong.

use super::rust_file::RustFile;
use super::visitor::{Counted, Function};
use super::{Finding, Rule};
use std::collections::BTreeMap;

/// Lines, without tests.
const FILE: usize = 500;
const MAIN: usize = 80;
const LIB: usize = 120;
const CRATE: usize = 8_000;
const FUNCTION: usize = 80;
const ARGUMENTS: usize = 6;
const TRAIT_METHODS: usize = 10;
const ERROR_VARIANTS: usize = 15;
/// A test file tells one feature's story from top to bottom, so it may be longer; twice as long is two stories.
const TEST_FILE: usize = 1_000;
const TEST_FUNCTION: usize = 150;
const ARCHITECTURE: usize = 250;

/// Names that say nothing of what is inside, so that everything ends up there.
const VAGUE: [&str; 7] = ["utils", "util", "common", "helpers", "helper", "misc", "shared"];

pub(crate) fn check(files: &[RustFile]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = files.iter().flat_map(check_file).collect();
    let mut crates: BTreeMap<&str, usize> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.is_test) {
        *crates.entry(&file.crate_directory).or_default() += code_lines(file);
    }
    for (directory, lines) in crates {
        let manifest = format!("{directory}/Cargo.toml");
        if lines > CRATE {
            let advice = format!("{lines} lines of code, {CRATE} allowed: split it by idea");
            findings.push(Finding::new(&manifest, 1, Rule::CrateLength, advice).sized(lines));
        }
        let name = directory.rsplit('/').next().unwrap_or(directory);
        findings.extend(vague(&manifest, 1, name));
    }
    findings
}

pub(crate) fn check_architecture(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let advice =
        format!("{lines} lines, {ARCHITECTURE} allowed: move what is true of one crate into its head");
    (lines > ARCHITECTURE).then(|| Finding::new(path, 1, Rule::ArchitectureLength, advice).sized(lines))
}

fn check_file(file: &RustFile) -> Vec<Finding> {
    let path = file.path.as_str();
    let mut findings = Vec::new();
    if !file.has_head {
        let advice = "open the file with a //! line: what it is for and the invariant it keeps";
        findings.push(Finding::new(path, 1, Rule::Head, advice));
    }
    if file.stem() == "mod" {
        findings.push(Finding::new(
            path,
            1,
            Rule::ModRs,
            "name the file after its module, beside its directory",
        ));
    }
    findings.extend(vague(path, 1, file.stem()));
    findings.extend(
        file.facts
            .inline_modules
            .iter()
            .filter_map(|module| vague(path, module.line, &module.name)),
    );
    findings.extend(file_length(file));
    findings.extend(
        file.facts
            .functions
            .iter()
            .flat_map(|function| check_function(file, function)),
    );
    findings.extend(file.facts.traits.iter().filter_map(|counted| {
        over(
            path,
            Rule::TraitMethods,
            counted,
            TRAIT_METHODS,
            "methods",
            "split the trait by who calls it",
        )
    }));
    findings.extend(file.facts.error_enums.iter().filter_map(|counted| {
        over(
            path,
            Rule::ErrorVariants,
            counted,
            ERROR_VARIANTS,
            "variants",
            "give each operation an error of its own",
        )
    }));
    findings
}

fn file_length(file: &RustFile) -> Option<Finding> {
    let lines = code_lines(file);
    let (budget, what) = match (file.is_test, file.stem()) {
        (true, _) => (TEST_FILE, "lines of tests"),
        (false, "main") => (MAIN, "lines of code"),
        (false, "lib") => (LIB, "lines of code"),
        (false, _) => (FILE, "lines of code"),
    };
    let advice = format!("{lines} {what}, {budget} allowed: split it by idea");
    (lines > budget).then(|| Finding::new(&file.path, 1, Rule::FileLength, advice).sized(lines))
}

fn check_function(file: &RustFile, function: &Function) -> Vec<Finding> {
    let is_test = file.is_test || function.is_test;
    let budget = if is_test { TEST_FUNCTION } else { FUNCTION };
    let Function {
        name,
        line,
        lines,
        arguments,
        ..
    } = function;
    let mut findings = Vec::new();
    if *lines > budget {
        let advice = format!("{name} has {lines} lines, {budget} allowed: name its steps");
        findings.push(Finding::new(&file.path, *line, Rule::FunctionLength, advice).sized(*lines));
    }
    if *arguments > ARGUMENTS {
        let advice = format!(
            "{name} takes {arguments} arguments, {ARGUMENTS} allowed: give what belongs together a type"
        );
        findings.push(Finding::new(&file.path, *line, Rule::Arguments, advice).sized(*arguments));
    }
    findings
}

fn over(
    path: &str,
    rule: Rule,
    counted: &Counted,
    budget: usize,
    what: &str,
    remedy: &str,
) -> Option<Finding> {
    let Counted { name, line, count } = counted;
    let advice = format!("{name} has {count} {what}, {budget} allowed: {remedy}");
    (*count > budget).then(|| Finding::new(path, *line, rule, advice).sized(*count))
}

fn vague(path: &str, line: usize, name: &str) -> Option<Finding> {
    let advice = format!("`{name}` says nothing: name it after what is in it");
    VAGUE
        .contains(&name)
        .then(|| Finding::new(path, line, Rule::VagueName, advice))
}

/// A test file is all test, so all of it counts against its own budget.
fn code_lines(file: &RustFile) -> usize {
    if file.is_test {
        file.facts.lines
    } else {
        file.facts.lines - file.facts.test_lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::visitor::{Facts, Named};

    fn file(path: &str, facts: Facts) -> RustFile {
        let is_test = path.contains("/tests/");
        RustFile {
            path: path.to_owned(),
            crate_directory: "crates/one".to_owned(),
            is_test,
            has_head: true,
            facts,
        }
    }

    fn rules(files: &[RustFile]) -> Vec<Rule> {
        check(files).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn each_kind_of_file_has_its_budget() {
        let table = [
            ("crates/one/src/part.rs", FILE),
            ("crates/one/src/main.rs", MAIN),
            ("crates/one/src/lib.rs", LIB),
            ("crates/one/tests/whole.rs", TEST_FILE),
        ];
        for (path, budget) in table {
            for (lines, expected) in [(budget, vec![]), (budget + 1, vec![Rule::FileLength])] {
                let found = rules(&[file(
                    path,
                    Facts {
                        lines,
                        ..Facts::default()
                    },
                )]);
                assert_eq!(found, expected, "{path} with {lines} lines");
            }
        }
    }

    #[test]
    fn tests_in_a_file_do_not_count_against_its_budget() {
        let facts = Facts {
            lines: FILE + 300,
            test_lines: 300,
            ..Facts::default()
        };
        assert_eq!(rules(&[file("crates/one/src/part.rs", facts)]), []);
    }

    #[test]
    fn a_crate_is_the_sum_of_its_code() {
        let files: Vec<RustFile> = (0..17)
            .map(|index| {
                file(
                    &format!("crates/one/src/f{index}.rs"),
                    Facts {
                        lines: 480,
                        ..Facts::default()
                    },
                )
            })
            .collect();
        assert_eq!(rules(&files[..16]), []);
        assert_eq!(rules(&files), [Rule::CrateLength]);
    }

    #[test]
    fn long_functions_and_long_argument_lists_are_found() {
        let function = |lines, arguments, is_test| Function {
            name: "f".to_owned(),
            line: 3,
            lines,
            arguments,
            is_test,
        };
        let table = [
            (function(80, 6, false), vec![]),
            (function(81, 6, false), vec![Rule::FunctionLength]),
            (function(80, 7, false), vec![Rule::Arguments]),
            (function(150, 0, true), vec![]),
            (function(151, 0, true), vec![Rule::FunctionLength]),
        ];
        for (function, expected) in table {
            let facts = Facts {
                functions: vec![function],
                ..Facts::default()
            };
            assert_eq!(rules(&[file("crates/one/src/part.rs", facts)]), expected);
        }
    }

    #[test]
    fn wide_traits_and_errors_are_found() {
        let counted = |count| {
            vec![Counted {
                name: "X".to_owned(),
                line: 1,
                count,
            }]
        };
        let fits = Facts {
            traits: counted(10),
            error_enums: counted(15),
            ..Facts::default()
        };
        assert_eq!(rules(&[file("crates/one/src/part.rs", fits)]), []);
        let wide = Facts {
            traits: counted(11),
            error_enums: counted(16),
            ..Facts::default()
        };
        assert_eq!(
            rules(&[file("crates/one/src/part.rs", wide)]),
            [Rule::TraitMethods, Rule::ErrorVariants]
        );
    }

    #[test]
    fn names_that_say_nothing_are_found_in_files_modules_and_crates() {
        let inline = Facts {
            inline_modules: vec![Named {
                name: "helpers".to_owned(),
                line: 9,
            }],
            ..Facts::default()
        };
        assert_eq!(
            rules(&[file("crates/one/src/part.rs", inline)]),
            [Rule::VagueName]
        );
        assert_eq!(
            rules(&[file("crates/one/src/utils.rs", Facts::default())]),
            [Rule::VagueName]
        );
        let mut named = file("crates/common/src/lib.rs", Facts::default());
        named.crate_directory = "crates/common".to_owned();
        assert_eq!(rules(&[named]), [Rule::VagueName]);
    }

    #[test]
    fn a_missing_head_and_a_mod_rs_are_found() {
        let mut headless = file("crates/one/src/part/mod.rs", Facts::default());
        headless.has_head = false;
        assert_eq!(rules(&[headless]), [Rule::Head, Rule::ModRs]);
    }

    #[test]
    fn the_architecture_page_stays_a_page() {
        assert_eq!(
            check_architecture("ARCHITECTURE.md", &"line\n".repeat(ARCHITECTURE)),
            None
        );
        assert!(check_architecture("ARCHITECTURE.md", &"line\n".repeat(ARCHITECTURE + 1)).is_some());
    }
}
