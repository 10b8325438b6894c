# What deploy.sh looks at before it does anything, read by it: settings, packages, whose credentials these are, and what
# is in AWS. Nothing in here changes anything; what is wrong goes to `problem`, and is named at once.
# shellcheck shell=bash

# --- Settings ---------------------------------------------------------------------------------------------------------

# Lines of NAME=value; the example knows every name, and its values are the defaults.
read_settings() {
  local file=$1 number=0 line name
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    line=${line%"${line##*[![:space:]]}"}
    [[ -z $line || $line == "#"* ]] && continue
    name=${line%%=*}
    if [[ $line != *=* || ! $name =~ ^[A-Z_]+$ ]] || ! grep -q "^$name=" "$infra/deployment.env.example"; then
      problem "$file, line $number: no such setting: ${line:0:60}; deployment.env.example has them all"
    else
      printf -v "$name" '%s' "${line#*=}"
    fi
  done <"$file"
}

# A setting that does not look as it has to is better found here than by the second of two stacks.
expect() {
  local name=$1 pattern=$2 expected=$3
  [[ ${!name} =~ ^($pattern)$ ]] && return
  if [[ -z ${!name} ]]; then problem "$name is not set: expected $expected"
  else problem "$name is ${!name}: expected $expected"; fi
}

# CloudFormation takes so many bytes of a parameter, Lambda of all variables of a function.
expect_short() {
  local what=$1 text=$2 most=$3 expected=$4
  (($(printf %s "$text" | wc -c) <= most)) || problem "$what: longer than $most bytes: expected $expected"
}

# No pattern repeats anything more than 255 times: macOS refuses one that does.
check_settings() {
  local account='[0-9]{12}' hour='([01]?[0-9]|2[0-3])' unit='(r-[a-z0-9]{4,32}|ou-[a-z0-9-]+)' role
  local some="($account(,$account)*)?"
  # A role by its full name, or one of IAM Identity Center's, whose name ends as it likes.
  role="arn:aws:iam::${SECURITY_ACCOUNT_ID:-$account}:role/([A-Za-z0-9_+=.@/-]+|\
aws-reserved/sso\.amazonaws\.com/(\*|[a-z0-9-]+/)?AWSReservedSSO_[A-Za-z0-9_+=.@-]+_\*)"
  expect SECURITY_ACCOUNT_ID "$account" "an account id of twelve digits"
  expect ORGANIZATION_ACCOUNT_ID "$account" "an account id of twelve digits"
  expect ORGANIZATION_ID 'o-[a-z0-9]{10,32}' "an organization's id such as o-a1b2c3d4e5"
  expect ORGANIZATIONAL_UNIT_IDS "$unit(,$unit)*" "the organization's root (r-…) or units (ou-…), by commas"
  expect SLACK_CHANNEL '[CG][A-Z0-9]{5,20}' "a channel's id such as C0123456789"
  expect SLACK_SECRET_NAME '[A-Za-z0-9/_+=.@-]+' "a secret's name"
  expect ALARM_EMAIL "[^@ \"'<>]+@[^@ \"'<>]+" "an e-mail address such as security@example.com, and nothing around it"
  expect EXTERNAL_ID '[A-Za-z0-9_+=,.@:/-]{2,}' "two characters or more that nobody else uses; uuidgen makes a good one"
  expect PREFIX '[a-z][a-z0-9-]{1,30}[a-z0-9]' "3 to 32 small letters, digits and hyphens"
  expect ENFORCED_ACCOUNT_IDS "all|$some" "account ids, by commas, or all"
  expect_short ENFORCED_ACCOUNT_IDS "$ENFORCED_ACCOUNT_IDS" 4096 "315 accounts at most, or all"
  expect DISABLER_IN_MANAGEMENT_ACCOUNT 'absent|present' "absent or present"
  expect OPERATORS "($role(,$role)*)?" \
    "ARNs of roles in account ${SECURITY_ACCOUNT_ID:-SECURITY_ACCOUNT_ID}, by commas; with * only as in the example's"
  expect ACCOUNTS "$some" "account ids, by commas"
  expect INCLUDE_ACCOUNTS "$some" "account ids, by commas"
  expect EXCLUDE_ACCOUNTS "$some" "account ids, by commas"
  expect ACCOUNT_NAMES "($account=[^,=]+(,$account=[^,=]+)*)?" "names such as 111122223333=prod, by commas"
  # The function has four kilobytes for all that it is told, and these are the most of it.
  expect_short "ACCOUNTS, INCLUDE_ACCOUNTS, EXCLUDE_ACCOUNTS and ACCOUNT_NAMES together" \
    "$ACCOUNTS$INCLUDE_ACCOUNTS$EXCLUDE_ACCOUNTS$ACCOUNT_NAMES" 3000 \
    "fewer; without them the organization's own list and names hold"
  expect FAILED_ATTEMPTS 'never|root-and-others|always' "never, root-and-others or always"
  expect ARCHITECTURE 'arm64|x86_64' "arm64 or x86_64"
  expect SWEEP_HOURS "$hour,$hour" "two hours of the day such as 6,9"
  expect SWEEP_CONCURRENCY '[2-9]|[1-9][0-9]|100' "a number from 2 to 100"
  expect LOG_LEVEL 'info|warn|error' "info, warn or error"
  expect LOG_RETENTION_DAYS '30|90|180|365|400|731' "30, 90, 180, 365, 400 or 731"
  : "${PACKAGES_BUCKET:=$PREFIX-packages-${SECURITY_ACCOUNT_ID:-000000000000}}"
  expect PACKAGES_BUCKET '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]' "a bucket's name"
}

# --- Packages ---------------------------------------------------------------------------------------------------------

digest() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

# Sets `found_package`: the file's name of a function's one package.
find_package() {
  local found=("$packages/$1-$ARCHITECTURE"-*.zip)
  found_package=${found[0]##*/}
  if [[ ! -e ${found[0]} ]]; then problem "there is no $1 for $ARCHITECTURE in $packages: make package first"
  elif ((${#found[@]} > 1)); then problem "there are ${#found[@]} of $1 for $ARCHITECTURE in $packages; expected one"
  elif [[ -e $packages/SHA256SUMS ]] && ! cut -c 67- "$packages/SHA256SUMS" | grep -xF -- "$found_package" >/dev/null; then
    problem "$packages/SHA256SUMS does not name $found_package: make package again"
  fi
}

check_packages() {
  find_package keytide-watcher && watcher=$found_package
  find_package keytide-sweeper && sweeper=$found_package
  if [[ ! -e $packages/SHA256SUMS ]]; then
    problem "there is no SHA256SUMS in $packages, which says what was packaged: make package again"
  elif ! (cd -- "$packages" && digest --check SHA256SUMS) >/dev/null 2>&1; then
    problem "a file in $packages is not the one that was packaged (SHA256SUMS): make package again"
  fi
}

# --- Credentials and the organization ---------------------------------------------------------------------------------

# Whose credentials these are. With another account's nothing more is asked, let alone done.
check_identity() {
  local where=$1 expected=$2 profile=$3
  local whose="the shell's credentials"
  [[ -z $profile ]] || whose="the credentials of profile $profile"
  if ! ask "$where" sts get-caller-identity --query Account; then
    problem "$whose are not good; expected account $expected's: $refusal"
  elif [[ $answer != "$expected" ]]; then
    problem "$whose are account $answer's; expected $expected"
  fi
}

# Sets `management_account` and `call_as`.
check_credentials() {
  check_identity in_security "$SECURITY_ACCOUNT_ID" "$SECURITY_PROFILE"
  check_identity in_organization "$ORGANIZATION_ACCOUNT_ID" "$ORGANIZATION_PROFILE"
  stop_at_problems
  if ! ask in_organization organizations describe-organization --query 'Organization.[Id,MasterAccountId]'; then
    problem "the organization cannot be read from account $ORGANIZATION_ACCOUNT_ID: $refusal"
    return
  fi
  local id
  read -r id management_account <<<"$answer"
  [[ $id == "$ORGANIZATION_ID" ]] || problem "account $ORGANIZATION_ACCOUNT_ID is in organization $id; expected $ORGANIZATION_ID"
  call_as=DELEGATED_ADMIN
  [[ $management_account != "$ORGANIZATION_ACCOUNT_ID" ]] || call_as=SELF
}

check_organization() {
  if [[ ,$ENFORCED_ACCOUNT_IDS, == *",$management_account,"* ]]; then
    problem "ENFORCED_ACCOUNT_IDS names the management account $management_account, which no StackSet reaches: \
DISABLER_IN_MANAGEMENT_ACCOUNT is for it"
  fi
  if [[ $call_as == DELEGATED_ADMIN ]]; then
    [[ $DISABLER_IN_MANAGEMENT_ACCOUNT == absent ]] ||
      problem "DISABLER_IN_MANAGEMENT_ACCOUNT is present, and account $ORGANIZATION_ACCOUNT_ID is not the management account \
($management_account): deploy enforced-account.yaml there by hand"
    if ! ask in_organization organizations list-delegated-administrators --service-principal "$STACKSETS" \
      --query "DelegatedAdministrators[?Id=='$ORGANIZATION_ACCOUNT_ID'].Id" || [[ $answer != "$ORGANIZATION_ACCOUNT_ID" ]]; then
      problem "account $ORGANIZATION_ACCOUNT_ID is neither the management account nor a delegated administrator of \
StackSets${refusal:+ ($refusal)}: as $management_account run aws organizations register-delegated-administrator \
--account-id $ORGANIZATION_ACCOUNT_ID --service-principal $STACKSETS"
      return
    fi
  fi
  if ! ask in_organization cloudformation describe-organizations-access --call-as "$call_as" --query Status; then
    problem "whether StackSets may reach the organization's accounts: $refusal"
  elif [[ $answer != ENABLED ]]; then
    problem "StackSets may not reach the organization's accounts ($answer): as $management_account run aws --region $REGION \
cloudformation activate-organizations-access"
  fi
  local unit is_there=1
  for unit in ${ORGANIZATIONAL_UNIT_IDS//,/ }; do
    if [[ $unit == r-* ]]; then ask in_organization organizations list-roots --query "Roots[?Id=='$unit'].Id"
    else ask in_organization organizations describe-organizational-unit --organizational-unit-id "$unit" \
      --query OrganizationalUnit.Id; fi && [[ $answer == "$unit" ]] && continue
    is_there=
    problem "ORGANIZATIONAL_UNIT_IDS: there is no $unit in organization $ORGANIZATION_ID${refusal:+: $refusal}"
  done
  [[ -z $is_there || $SECURITY_ACCOUNT_ID == "$management_account" ]] || is_below_units "$SECURITY_ACCOUNT_ID" ||
    problem "account $SECURITY_ACCOUNT_ID is not below $ORGANIZATIONAL_UNIT_IDS, and needs its part as every other account \
does${refusal:+ ($refusal)}: name a unit above it as well"
  [[ -z $is_there ]] || check_enforced
  # What the sweeper will do every day.
  [[ -n $ACCOUNTS ]] || { ask in_security organizations list-accounts --max-items 1 --query 'Accounts[].Id' &&
    [[ $answer =~ [0-9]{12} ]]; } ||
    problem "account $SECURITY_ACCOUNT_ID may not list the organization's accounts${refusal:+ ($refusal)}: make it a \
delegated administrator of some service, or name them in ACCOUNTS"
}

# The StackSet would leave out in silence whoever is not below the units.
check_enforced() {
  local account
  [[ $ENFORCED_ACCOUNT_IDS != all ]] || return 0
  for account in ${ENFORCED_ACCOUNT_IDS//,/ }; do
    # What is said of this one above is enough.
    [[ $account != "$management_account" ]] || continue
    is_below_units "$account" || problem "ENFORCED_ACCOUNT_IDS: $account is not below \
$ORGANIZATIONAL_UNIT_IDS${refusal:+ ($refusal)}"
  done
}

# Whether an account lies below one of the units: by its parents, up to the root. What turned out to lie there is kept in
# `below`, so that most of the accounts of one unit take one question each.
is_below_units() {
  local at=$1 way=
  : "${below:=,$ORGANIZATIONAL_UNIT_IDS,}"
  while [[ $at != r-* ]]; do
    ask in_organization organizations list-parents --child-id "$at" --query 'Parents[0].Id' || return
    at=$answer
    if [[ $below == *",$at,"* ]]; then below+=$way; return 0; fi
    way+=$at,
  done
  return 1
}

# --- Stacks -----------------------------------------------------------------------------------------------------------

# Sets `status`: the stack's, or nothing where there is none. Of some nothing good can come, by any command.
read_status() {
  status=
  if ask "$1" cloudformation describe-stacks --stack-name "$2" --query 'Stacks[0].StackStatus'; then status=$answer
  elif [[ $refusal != *"does not exist"* ]]; then problem "stack $2: $refusal"
  fi
  case $status in
    # A change set that nobody carried out is no stack yet.
    REVIEW_IN_PROGRESS) status= ;;
    *_IN_PROGRESS) problem "stack $2 is being changed ($status): wait for its end, then try again" ;;
    *_ROLLBACK_FAILED)
      problem "stack $2 is neither what it was nor what it was to be ($status): its events say why. Mend that, run \
$(typed "$1" cloudformation continue-update-rollback --stack-name "$2"), and try again at its end" ;;
  esac
}

# Whether there is a stack at all, rather than what an attempt to make or to delete it left.
is_whole() { [[ -n $1 && $1 != ROLLBACK_* && $1 != CREATE_FAILED && $1 != DELETE_FAILED ]]; }

check_updatable() {
  read_status "$1" "$2"
  [[ -z $status || $status == *_IN_PROGRESS ]] || is_whole "$status" ||
    problem "stack $2 could not be made, or not be deleted ($status): its events say why. Delete what is left of this one \
stack, $(typed "$1" cloudformation delete-stack --stack-name "$2"), and try again at its end"
}

stack_parameter() {
  ask "$1" cloudformation describe-stacks --stack-name "$2" \
    --query "Stacks[0].Parameters[?ParameterKey=='$3'].ParameterValue" || problem "stack $2: $refusal"
}

# What an earlier installation left, on purpose: a new one may not write over it, and CloudFormation would only say so in
# the middle.
check_leftovers() {
  local left="there is no stack $PREFIX, but of an earlier installation its" group
  if ask in_security dynamodb describe-table --table-name "$PREFIX-ledger" --query Table.TableStatus; then
    problem "$left table $PREFIX-ledger is there: see DEPLOY.md, \"Come back\""
  elif [[ $refusal != *ResourceNotFoundException* ]]; then problem "table $PREFIX-ledger: $refusal"
  fi
  for group in "/aws/lambda/$PREFIX-watcher" "/aws/lambda/$PREFIX-sweeper"; do
    if ! ask in_security logs describe-log-groups --log-group-name-prefix "$group" \
      --query "logGroups[?logGroupName=='$group'].logGroupName"; then problem "log group $group: $refusal"
    elif [[ $answer == *"$group"* ]]; then problem "$left log group $group is there: see DEPLOY.md, \"Come back\""
    fi
  done
}

# --- The bucket and the secret ----------------------------------------------------------------------------------------

# Sets `bucket_is_there`. A bucket of somebody's is not made ours: its policy would be written over.
check_bucket() {
  local bucket=(--bucket "$PACKAGES_BUCKET" --expected-bucket-owner "$SECURITY_ACCOUNT_ID")
  local another="name another in PACKAGES_BUCKET"
  bucket_is_there=
  if ! ask in_security s3api head-bucket "${bucket[@]}"; then
    [[ $refusal == *"(404)"* ]] || problem "bucket $PACKAGES_BUCKET: $refusal. Another account may have it: $another"
    return 0
  fi
  bucket_is_there="see to"
  if ! ask in_security s3api get-bucket-location "${bucket[@]}" --query LocationConstraint; then
    problem "bucket $PACKAGES_BUCKET: $refusal"
  elif [[ $answer != None && $answer != us-east-1 ]]; then
    problem "bucket $PACKAGES_BUCKET is in $answer; the functions' code has to be in $REGION: $another"
  fi
  if ask in_security s3api get-bucket-policy "${bucket[@]}" --query Policy; then
    is_our_policy "$answer" || problem "bucket $PACKAGES_BUCKET has a policy that is not keytide's, which would be lost: $another"
  elif [[ $refusal != *NoSuchBucketPolicy* ]]; then problem "bucket $PACKAGES_BUCKET: $refusal"
  # One that was just made, and nothing more, has no policy yet.
  elif ! ask in_security s3api list-objects-v2 "${bucket[@]}" --max-keys 1 --query KeyCount; then
    problem "bucket $PACKAGES_BUCKET: $refusal"
  elif [[ $answer != 0 ]]; then
    problem "bucket $PACKAGES_BUCKET has something in it, and no policy of keytide's, so it is somebody's: $another"
  fi
}

# The statements that make_bucket writes, and no other: each has an effect, and ours these names.
is_our_policy() {
  local names effects
  names=$(grep -Eo '"Sid" *: *"[^"]*"' <<<"$1" | cut -d '"' -f 4 | sort | tr '\n' ' ')
  effects=$(grep -o '"Effect"' <<<"$1" | wc -l)
  [[ $names == "NothingUnencrypted ReadTheMembersTemplate " ]] && ((effects == 2))
}

check_secret() {
  ask in_security secretsmanager describe-secret --secret-id "$SLACK_SECRET_NAME" --query Name ||
    problem "secret $SLACK_SECRET_NAME in account $SECURITY_ACCOUNT_ID: $refusal. Put the bot's token there: see DEPLOY.md"
}

# --- Before all of it goes ----------------------------------------------------------------------------------------------

# Who takes enforcement away says so first where everybody sees it: by a policy, which the channel is told. It also keeps a
# sweep from losing its role in the middle of a disable. A stack that was not made, or only half deleted, has no such roles.
check_enforcement() {
  local stack=$PREFIX-organization first="take it away first (DEPLOY.md, \"Go back\")"
  stack_parameter in_organization "$stack" EnforcedAccountIds
  [[ ! $answer =~ [0-9]{12}|all ]] || problem "the role that disables is still in $answer: $first"
  stack_parameter in_organization "$stack" DisablerInManagementAccount
  [[ $answer != present ]] || problem "the role that disables is still in the management account: $first"
}

# IAM deletes no policy that somebody has, and the stack would end in the middle.
check_detached() {
  local policies policy
  if ! ask in_security cloudformation list-stack-resources --stack-name "$PREFIX" \
    --query "StackResourceSummaries[?ResourceType=='AWS::IAM::ManagedPolicy'].PhysicalResourceId"; then
    problem "stack $PREFIX: $refusal"
  fi
  policies=$answer
  for policy in $policies; do
    [[ $policy == arn:* ]] || continue
    if ask in_security iam list-entities-for-policy --policy-arn "$policy" \
      --query '[PolicyGroups[].GroupName,PolicyUsers[].UserName,PolicyRoles[].RoleName][]'; then
      [[ -z $answer || $answer == None ]] ||
        problem "policy ${policy##*/} is attached to ${answer//[[:space:]]/, }: detach it first (DEPLOY.md, \"Leave\")"
    elif [[ $refusal != *NoSuchEntity* ]]; then problem "policy ${policy##*/}: $refusal"
    fi
  done
}
