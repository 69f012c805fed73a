//! Exit codes of preview-1 modules. The adapter that makes components of them knows success and failure only; a module that exits by itself is made to
//! call `wasi:cli/exit`'s `exit-with-code`, which has the same shape, instead of the adapter's `proc_exit`. Changes names in the list of imports, no code.

use std::ops::Range;

use wasmparser::{BinaryReader, BinaryReaderError, Imports, Parser, Payload, TypeRef};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What modules import to exit.
const OLD: (&str, &str) = ("wasi_snapshot_preview1", "proc_exit");
/// What they are to import.
const NEW: (&str, &str) = ("wasi:cli/exit@0.2.12", "exit-with-code");
/// The interface of the new import: all of it, as the adapter has it too.
const INTERFACE: &str = "package wasi:cli@0.2.12;
interface exit {
  exit: func(status: result);
  exit-with-code: func(status-code: u8);
}
world exits {
  import exit;
}
";
/// What a module begins with: magic and version.
const HEAD: usize = 8;
/// The id of the section of imports.
const IMPORTS: u8 = 2;

/// The module with its exits redirected; `None` when it has none. It must be valid.
pub(super) fn redirect(module: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    // Sections follow one another: each begins, with its id and length, where the one before ends.
    let mut end = HEAD;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        let Payload::ImportSection(imports) = payload else {
            end = payload.as_section().map_or(end, |(_, range)| range.end);
            continue;
        };
        let section = Section {
            begins: end,
            contents: imports.range(),
        };
        for import in imports {
            let Imports::Single(offset, import) = import? else {
                continue;
            };
            if (import.module, import.name) == OLD && matches!(import.ty, TypeRef::Func(_)) {
                let names = names(module, offset)?;
                return renamed(module, section, names).map(Some);
            }
        }
        break;
    }
    Ok(None)
}

/// Where a section is.
struct Section {
    begins: usize,
    contents: Range<usize>,
}

/// Where the two names of the import at `offset` are.
fn names(module: &[u8], offset: usize) -> Result<Range<usize>, BinaryReaderError> {
    let mut reader = BinaryReader::new(module.get(offset..).unwrap_or_default(), offset);
    reader.read_string()?;
    reader.read_string()?;
    Ok(offset..reader.original_position())
}

/// The module with other names in its section of imports, and what they mean appended.
fn renamed(module: &[u8], section: Section, names: Range<usize>) -> anyhow::Result<Vec<u8>> {
    let part = |range: Range<usize>| module.get(range).unwrap_or_default();
    let mut imports = part(section.contents.start..names.start).to_vec();
    for name in [NEW.0, NEW.1] {
        put_length(&mut imports, name.len())?;
        imports.extend_from_slice(name.as_bytes());
    }
    imports.extend_from_slice(part(names.end..section.contents.end));
    let mut made = part(0..section.begins).to_vec();
    made.push(IMPORTS);
    put_length(&mut made, imports.len())?;
    made.extend_from_slice(&imports);
    made.extend_from_slice(part(section.contents.end..module.len()));
    let mut resolve = Resolve::default();
    let package = resolve.push_source("exits.wit", INTERFACE)?;
    let world = resolve.select_world(&[package], Some("exits"))?;
    embed_component_metadata(&mut made, &resolve, world, StringEncoding::UTF8)?;
    Ok(made)
}

/// Writes a length as modules have it (LEB128).
fn put_length(to: &mut Vec<u8>, length: usize) -> anyhow::Result<()> {
    let mut left = u32::try_from(length)?;
    loop {
        let [low, ..] = (left & 0x7f).to_le_bytes();
        left >>= 7;
        if left == 0 {
            to.push(low);
            return Ok(());
        }
        to.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module that imports something before and after its exit.
    const EXITS: &str = r#"(module
        (@custom "before" "x")
        (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start") i32.const 3 call $exit))"#;

    fn imports(module: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            if let Payload::ImportSection(imports) = payload.unwrap() {
                for import in imports {
                    if let Imports::Single(_, import) = import.unwrap() {
                        found.push(format!("{} {}", import.module, import.name));
                    }
                }
            }
        }
        found
    }

    #[test]
    fn only_the_exit_is_redirected() {
        let module = wat::parse_str(EXITS).unwrap();
        let redirected = redirect(&module).unwrap().unwrap();
        wasmparser::Validator::new()
            .validate_all(&redirected)
            .unwrap();
        let expected = [
            "wasi_snapshot_preview1 sched_yield",
            "wasi:cli/exit@0.2.12 exit-with-code",
            "wasi_snapshot_preview1 fd_close",
        ];
        assert_eq!(imports(&redirected), expected);
        assert_eq!(redirect(&redirected).unwrap(), None);
    }

    #[test]
    fn a_module_without_exits_stays_as_it_is() {
        let module = wat::parse_str("(module (import \"a\" \"proc_exit\" (func)))").unwrap();
        assert_eq!(redirect(&module).unwrap(), None);
        assert_eq!(
            redirect(&wat::parse_str("(module)").unwrap()).unwrap(),
            None
        );
    }
}
