#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Status of the live patches of a machine."""

import json

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: status
short_description: Check the live patches of a machine
description:
  - Runs C(kpatch status --json), and fails unless all installed live patches of the running kernel are in effect.
author:
  - The authors of Ferrograft (@ferrograft)
options: {}
"""

EXAMPLES = r"""
- name: Check the machine
  ferrograft.kpatch.status:
"""

RETURN = r"""
status:
  description: Output of C(kpatch status --json).
  returned: always
  type: dict
"""

SCHEMA = "ferrograft.kpatch.status/1"


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    code, out, err = module.run_command(["kpatch", "status", "--json"])
    try:
        status = json.loads(out)
    except ValueError:
        module.fail_json(msg="kpatch status --json ended with %d and printed no JSON: %s" % (code, err.strip() or out))
    if status.get("schema") != SCHEMA:
        module.fail_json(msg="kpatch status has schema %s, not %s" % (status.get("schema"), SCHEMA), status=status)
    if status["verdict"] != "current":
        module.fail_json(msg="%s: %s" % (status["verdict"], status["reason"]), status=status)
    module.exit_json(changed=False, status=status)


if __name__ == "__main__":
    main()
