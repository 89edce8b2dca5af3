# Speech Commands V2 as it unpacks: 84,843 clips to train, 9,981 to validate,
# 11,005 to test, 35 words; what training does to them as published.
_base_ = './runtime.py'
fbank = [
    dict(type='mmrep.LoadWaveform', sample_rate=16000),
    dict(type='mmrep.KaldiFbank', num_bins=128, num_frames=128),
]
train_pipeline = [
    *fbank,
    dict(type='mmrep.MaskFbank', max_bins=48, max_frames=48),
    dict(type='mmrep.NormalizeFbank'),
    dict(type='mmrep.NoiseAndRoll'),
    dict(type='mmrep.PackFbank'),
]
test_pipeline = [
    *fbank,
    dict(type='mmrep.NormalizeFbank'),
    dict(type='mmrep.PackFbank'),
]
words = dict(
    type='mmrep.SpeechCommands',
    data_root='data/speech_commands_v0.02/',
    num_classes=35,
)
loader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
)
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(split='train', mixup=0.6, pipeline=train_pipeline, **words),
    **loader,
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='val', pipeline=test_pipeline, **words),
    **loader,
)
test_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', pipeline=test_pipeline, **words),
    **loader,
)
