"""The profiles for other generators: what can be said of them without these."""

import ast
import os
import shutil
import subprocess
import unittest

HERE = os.path.dirname(os.path.realpath(__file__))


def files(directory, end):
    names = sorted(name for name in os.listdir(os.path.join(HERE, directory)) if name.endswith(end))
    return [os.path.join(HERE, directory, name) for name in names]


class Scripts(unittest.TestCase):
    def test_profiles_are_python_and_register(self):
        self.assertTrue(files("trex", ".py"))
        for path in files("trex", ".py"):
            with open(path, encoding="utf-8") as file:
                tree = ast.parse(file.read(), path)
            functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
            self.assertTrue("register" in functions or os.path.basename(path).startswith("ces_"), path)

    @unittest.skipUnless(shutil.which("luac5.4") or shutil.which("luac"), "no Lua compiler")
    def test_scripts_are_lua(self):
        compiler = shutil.which("luac5.4") or shutil.which("luac")
        for path in files("pktgen", ".lua"):
            subprocess.run([compiler, "-p", path], check=True)


if __name__ == "__main__":
    unittest.main()
