from ser_hf.utils.threads import limit_threads

limit_threads()  # before gradio, torch and the like are imported
