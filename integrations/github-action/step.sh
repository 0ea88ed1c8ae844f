#!/usr/bin/env bash
# What both actions run. Inputs arrive as environment variables, never as text in a script, so a title or
# a file name cannot become a command. Only files are written; posting a comment is the workflow's own step.
set -uo pipefail

flags=()
[ -n "${ARGS:-}" ] && mapfile -t flags < <(xargs -n1 printf '%s\n' <<<"$ARGS")

output() { printf '%s=%s\n' "$1" "$2" >>"${GITHUB_OUTPUT:-/dev/null}"; }

optimize() {
  promptopt optimize --config "$CONFIG" --summary "$COMMENT" --junit "$JUNIT" "${flags[@]}"
  local code=$?
  output exit_code "$code"
  [ "$code" = 3 ] && [ "$FAIL_ON_NO_GAIN" != true ] && code=0
  return "$code"
}

# Decides about one prompt file; prints its outcome. Its files are kept apart and joined afterwards.
compare_one() {
  local file=$1 number=$2 old
  old=$(mktemp -d)/${file##*/}
  git show "$BASE:./$file" >"$old" || return 2
  promptopt compare "$old" "$file" --config "$CONFIG" --summary "$parts/$number.md" --junit "$(numbered "$JUNIT" "$number")" \
    --json "${flags[@]}" >"$parts/$number.json"
  printf '%s' $? >"$parts/$number.code"
}

numbered() { if [ "$2" = 1 ]; then printf '%s' "$1"; else printf '%s' "${1%.*}-$2.${1##*.}"; fi; }

compare() {
  local file number=0 paths=()
  parts=$(mktemp -d)
  read -r -d '' -a paths <<<"$PROMPTS"
  while IFS= read -r -d '' file; do
    number=$((number + 1))
    echo "comparing $file with $BASE"
    compare_one "$file" "$number" || return 2
  done < <(git diff --name-only --relative --diff-filter=M -z "$BASE" -- "${paths[@]}")
  output compared "$number"
  python3 "$here/verdict.py" "$parts" "$number" "$COMMENT" "${FAIL_ON:-worse}"
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$1"
