"""A predictor does without what KServe imports and never uses here."""

import subprocess
import sys
import textwrap


def printed_by(code):
    """What Python code prints in a process of its own, where nothing has been imported yet."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.split()


def test_kserve_is_imported_without_them_and_they_are_theirs_again_afterwards():
    assert printed_by("""
        import sys
        from serving.predictors.placeholders import placeholders
        with placeholders():
            import kserve
        print(sorted({"pandas", "kubernetes"} & {name.partition(".")[0] for name in sys.modules}))
        import pandas, kubernetes.client
        print(pandas.DataFrame({"a": [1, 2]})["a"].sum(), kubernetes.client.V1Pod().kind)
    """) == ["[]", "3", "None"]


def test_a_function_of_theirs_says_why_it_is_not_here():
    assert "pandas.concat is not here" in " ".join(
        printed_by("""
        from serving.predictors.placeholders import placeholders
        with placeholders():
            import pandas
        try:
            pandas.concat
        except AttributeError as error:
            print(error)
    """)
    )


def test_one_that_was_imported_before_is_left_as_it_is():
    assert printed_by("""
        import kubernetes.client
        from serving.predictors.placeholders import placeholders
        with placeholders():
            import kserve
        print(kserve.KServeClient.__module__, kubernetes.client.V1Pod.__module__)
    """) == ["kserve.api.kserve_client", "kubernetes.client.models.v1_pod"]
